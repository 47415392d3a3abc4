package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// The app that has a group with little room. Messages to it are large.
const (
	smallApp   = "small"
	smallGroup = "small"
	smallBytes = 1 << 20
	largeData  = 24 << 10
	// tooMany is more than the group has room for.
	tooMany = 2 * smallBytes / largeData
)

// room fills a group, and drains it.
type room struct {
	f      *Fleet
	device *device // that publishes
	reader *device // another one: no device hears itself
	rest   *client.REST
	books  books.Room
	next   int

	mu sync.Mutex // guards books.Heard
}

// large is a message that takes much room.
type large struct {
	N   int    `json:"n"`
	Pad string `json:"pad"`
}

// fillAndDrain fills a group until it refuses messages of a device and of a backend, drains it, and
// has it take messages again.
func (f *Fleet) fillAndDrain() ([]books.Finding, error) {
	ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	r := &room{f: f, rest: f.backend(smallApp)}
	defer r.rest.HTTPClient.CloseIdleConnections()
	r.books = books.Room{Group: smallGroup, Most: smallBytes, Each: largeData + 256, Heard: map[int]int{}, Ingested: map[int]int{}}
	for name, d := range map[string]**device{"filler": &r.device, "reader": &r.reader} {
		var err error
		if *d, err = f.device(smallApp, name, f.route(0), nil, nil); err != nil {
			return nil, err
		}
		defer (*d).leave()
	}
	if err := r.reader.client.Subscribe(ctx, "full/*", r.heard); err != nil {
		return nil, fmt.Errorf("subscribing to full/*: %w", err)
	}
	before, err := used(ctx, r.rest)
	if err != nil {
		return nil, err
	}
	for range tooMany {
		if r.books.Full = [2]bool{r.books.Full[0] || r.send(ctx, false), r.books.Full[1] || r.send(ctx, true)}; r.books.Full == [2]bool{true, true} {
			break
		}
	}
	if err := r.finish(ctx, before); err != nil {
		return nil, err
	}
	r.awaitHeard(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.books.Judge(time.Now()), nil
}

// finish drains the group, has it take a message of each kind of sender, and drains it again.
func (r *room) finish(ctx context.Context, before int) error {
	state, err := groupState(ctx, r.rest, smallGroup)
	if err != nil {
		return err
	}
	r.books.Bytes = state.Bytes
	if err := r.drain(ctx); err != nil {
		return err
	}
	accepted := len(r.books.Accepted)
	if r.send(ctx, false) || r.send(ctx, true) || len(r.books.Accepted) != accepted+2 {
		r.books.AfterDrained = fmt.Errorf("%d of 2 were accepted", len(r.books.Accepted)-accepted)
	}
	if err := r.drain(ctx); err != nil {
		return err
	}
	now, err := used(ctx, r.rest)
	if err != nil {
		return err
	}
	r.books.Used = now - before
	if state, err = groupState(ctx, r.rest, smallGroup); err != nil {
		return err
	}
	r.books.Lag, r.books.Pending, r.books.Left = state.Lag, state.Pending, state.Bytes
	return nil
}

func (r *room) heard(m client.Message) {
	var l large
	if json.Unmarshal(m.Data, &l) == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.books.Heard[l.N]++
	}
}

// awaitHeard waits until the reader has all that was accepted. The books say what is missing.
func (r *room) awaitHeard(ctx context.Context) {
	for deadline := time.Now().Add(answerIn); time.Now().Before(deadline); pause(ctx, 10*time.Millisecond) {
		r.mu.Lock()
		missing := slices.ContainsFunc(r.books.Accepted, func(n int) bool { return r.books.Heard[n] == 0 })
		r.mu.Unlock()
		if !missing {
			return
		}
	}
}

// send sends one message, and says whether it was refused since the group is full.
func (r *room) send(ctx context.Context, byBackend bool) (full bool) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	n := r.next
	r.next++
	data, _ := json.Marshal(large{n, strings.Repeat("x", largeData)})
	m := client.Outgoing{Channel: fmt.Sprintf("full/%d", n%4), Data: json.RawMessage(data)}
	var err error
	if byBackend {
		_, err = r.rest.PublishMessage(ctx, m)
	} else {
		_, err = r.device.client.PublishMessage(ctx, m)
	}
	switch outcome(err) {
	case books.Acked:
		r.books.Accepted = append(r.books.Accepted, n)
	case books.Refused:
		r.books.Refused = append(r.books.Refused, n)
	default:
		r.books.Unknown = append(r.books.Unknown, n)
	}
	return client.CodeOf(err) == protocol.GroupFull
}

// drain pulls and acknowledges until a pull brings nothing. The books say what has not come.
func (r *room) drain(ctx context.Context) error {
	for {
		messages, err := pull(ctx, r.rest, smallGroup, "drain", 100)
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			return nil
		}
		all := make([]got, len(messages))
		for i, m := range messages {
			var l large
			if err := json.Unmarshal(m.Data, &l); err != nil {
				return err
			}
			r.books.Ingested[l.N]++
			all[i] = got{ackID: m.AckID}
		}
		if _, err := acknowledge(ctx, r.rest, smallGroup, all); err != nil {
			return err
		}
	}
}
