package books

import (
	"fmt"
	"slices"
	"time"
)

// A Room is what a group with little room was sent, until it refused messages and once it was
// drained, and what came of it.
type Room struct {
	Group string
	Most  int64 // bytes
	Each  int64 // bytes that a message takes, about

	Accepted, Refused, Unknown []int       // messages, by their numbers
	Heard                      map[int]int // by a subscriber of the channel: how often
	Ingested                   map[int]int // by an ingester
	Full                       [2]bool     // a device, and a backend, was told that the group is full
	Bytes                      int64       // that the group said it took, when it was full
	Used                       int         // messages that the app was counted
	AfterDrained               error       // why it took no message once it was drained; nil: it did
	Lag, Pending, Left         int64       // in the end, and its bytes
}

// Judge says in which way the group did not do as it should.
func (r Room) Judge(at time.Time) (found []Finding) {
	add := func(k Kind, format string, args ...any) {
		found = append(found, Finding{Kind: k, At: at, Text: fmt.Sprintf("the group "+r.Group+": "+format, args...)})
	}
	if !r.Full[0] || !r.Full[1] {
		add(Overrun, "it was full, and a device was told so: %v, a backend: %v", r.Full[0], r.Full[1])
	}
	if r.Bytes > r.Most {
		add(Overrun, "it took %d bytes of %d", r.Bytes, r.Most)
	}
	if r.Bytes+r.Each+int64(len(r.Unknown))*r.Each < r.Most {
		add(Underrun, "it was full with %d bytes of %d", r.Bytes, r.Most)
	}
	if r.Used < len(r.Accepted) || r.Used > len(r.Accepted)+len(r.Unknown) {
		add(Miscount, "%d messages were counted, %d accepted (and %d of which nothing is known)", r.Used, len(r.Accepted), len(r.Unknown))
	}
	for _, n := range r.Accepted {
		if r.Heard[n] != 1 || r.Ingested[n] == 0 {
			add(Lost, "message %d was accepted; a subscriber got it %d times, ingesters %d times", n, r.Heard[n], r.Ingested[n])
		}
	}
	for _, n := range r.Refused {
		if r.Heard[n]+r.Ingested[n] > 0 {
			add(Undead, "message %d was refused; a subscriber got it %d times, ingesters %d times", n, r.Heard[n], r.Ingested[n])
		}
	}
	for n := range r.Ingested {
		if !slices.Contains(r.Accepted, n) && !slices.Contains(r.Refused, n) && !slices.Contains(r.Unknown, n) {
			add(Invented, "message %d came to ingesters, and was not sent", n)
		}
	}
	if r.AfterDrained != nil {
		add(Underrun, "drained, it took no message: %v", r.AfterDrained)
	}
	if r.Lag != 0 || r.Pending != 0 || r.Left != 0 {
		add(Miscount, "drained, it has lag %d, pending %d and bytes %d", r.Lag, r.Pending, r.Left)
	}
	return found
}
