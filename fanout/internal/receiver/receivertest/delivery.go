package receivertest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/redisconn"
)

func testData(t *testing.T, s *system) {
	n, from := s.node(), s.publisher()
	n.subscribe("app", "devices/cam-1/events", 1)
	values := []string{
		`1.0`, `-0`, `1e400`, `1E+2`, `12345678901234567890`, `0.1000000000000000055511151231257827`,
		`null`, `true`, `""`, `{}`, `[]`,
		`{"a": 1,"a":  2 , "b":[ 1,2 ]}`,
		"{\n\t\"spaced\" : [ ]\r\n}",
		`"say \"hi\" \\ \/ \u00e9 \ud83d\ude00"`, `"é 漢字 😀   "`,
		`"<script>&amp;</script>"`,
		`{"type":"message","data":{"data":1}}`, `"}:msg:,\"data\":}"`,
		`"` + strings.Repeat("x", 60<<10) + `"`,
		`"` + strings.Repeat("é", 30<<10) + `"`,
		strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
	}
	// Around the borders of the WebSocket length encodings (RFC 6455 §5.2).
	for size := 1; size <= 130; size++ {
		values = append(values, `"`+strings.Repeat("y", size)+`"`)
	}
	for size := 65400; size <= 65540; size += 7 {
		values = append(values, `"`+strings.Repeat("z", size)+`"`)
	}
	for _, v := range values {
		publish(t, from, "app", "devices/cam-1/events", v)
	}
	for i, d := range n.wait(len(values)) {
		want := `{"type":"message","channel":"devices/cam-1/events","from":"sender","data":` + values[i] + `}`
		if got := body(t, d.Frame); got != want {
			t.Errorf("frame %.300q, want %.300q", got, want)
		}
		if len(d.FromMetadata) != 0 || string(d.FrameWithMetadata()) != string(d.Frame) {
			t.Errorf("metadata %q and another frame for a sender without metadata", d.FromMetadata)
		}
	}
}

func testMetadata(t *testing.T, s *system) {
	n, from := s.node(), s.publisher()
	n.subscribe("app", "c", 1)
	metadata := []string{
		`{}`,
		`{"site":"north \"gate\"","n":1.0}`,
		`{"data":1,"fromMetadata":{}}`,
		`{"k":"` + strings.Repeat("m", 4<<10) + `"}`, // MaxPeerMetadataBytes and more
		`{"k":"` + strings.Repeat("m", 30<<10) + `"}`,
	}
	values := []string{`1`, `{"fromMetadata":2}`, `"` + strings.Repeat("d", 60<<10) + `"`, `"` + strings.Repeat("d", 100) + `"`}
	var want []string
	for _, m := range metadata {
		for _, v := range values {
			o := from.Prepare(&envelope.Message{App: "app", Channel: "c", From: `quo"ted\peer`, FromMetadata: []byte(m), Data: []byte(v)})
			sendTo(t, from, unlimited("app"), o)
			want = append(want, m, v)
		}
	}
	const head = `{"type":"message","channel":"c","from":"quo\"ted\\peer",`
	for i, d := range n.wait(len(want) / 2) {
		m, v := want[2*i], want[2*i+1]
		if string(d.FromMetadata) != m {
			t.Errorf("metadata %.200q, want %.200q", d.FromMetadata, m)
		}
		if got := body(t, d.Frame); got != head+`"data":`+v+`}` {
			t.Errorf("frame without metadata: %.200q", got)
		}
		for range 2 { // it is made anew each time
			if got := body(t, d.FrameWithMetadata()); got != head+`"fromMetadata":`+m+`,"data":`+v+`}` {
				t.Errorf("frame with metadata: %.200q", got)
			}
		}
	}
}

// testOrder has several processes publish at once, each one call at a time as
// the contract asks, to two nodes.
func testOrder(t *testing.T, s *system) {
	const publishers, calls, perCall = 4, 40, 25
	channels := []string{"a/1", "a/2", "b"}
	nodes := []*node{s.node(), s.node()}
	for _, n := range nodes {
		n.listen("app", "a/*")
		n.subscribe("app", "a/1", 1)
		n.subscribe("app", "b", 1)
	}
	var all sync.WaitGroup
	for p := range publishers {
		b := s.publisher()
		all.Go(func() {
			i := 0
			for range calls {
				var messages []*send.Outgoing
				for range perCall {
					messages = append(messages, b.Prepare(&envelope.Message{
						App: "app", Channel: channels[i%len(channels)], From: strconv.Itoa(p), Data: []byte(strconv.Itoa(i)),
					}))
					i++
				}
				sendTo(t, b, unlimited("app"), messages...)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for i, n := range nodes {
		n.wait(publishers * calls * perCall)
		var got [publishers][]int
		for _, d := range n.settle(s.publisher()) {
			_, rest, _ := strings.Cut(body(t, d.Frame), `"from":"`)
			from, _, _ := strings.Cut(rest, `"`)
			p, _ := strconv.Atoi(from)
			number, _ := strconv.Atoi(data(t, d))
			if d.Channel != channels[number%len(channels)] {
				t.Fatalf("node %d: message %d of publisher %s came as one for %q", i, number, from, d.Channel)
			}
			got[p] = append(got[p], number)
		}
		for p := range publishers {
			var want []int
			for number := range calls * perCall {
				want = append(want, number)
			}
			if redisconn.IsCluster(s.Redis) { // which keeps each channel's order
				byChannel := func(a, b int) int { return cmp.Compare(a%len(channels), b%len(channels)) }
				slices.SortStableFunc(got[p], byChannel)
				slices.SortStableFunc(want, byChannel)
			}
			if !slices.Equal(got[p], want) {
				t.Errorf("node %d got of publisher %d %v, want all in order", i, p, got[p])
			}
		}
	}
}

// testOnce has two processes take turns on channels that a name and several
// patterns match, so that copies of one message stand between others.
func testOnce(t *testing.T, s *system) {
	n := s.node()
	n.subscribe("app", "devices/1/events", 3)
	n.subscribe("app", "devices/2/events", 1)
	for _, p := range []string{"**", "devices/**", "devices/*/events", "devices/1/*", "devices/*/*", `devices/1/events`} {
		n.listen("app", p)
	}
	from := []*send.Sender{s.publisher(), s.publisher(), n.Sender}
	const rounds = 100
	for i := range rounds {
		for _, b := range from {
			publish(t, b, "app", fmt.Sprintf("devices/%d/events", 1+i%2), strconv.Itoa(i))
		}
	}
	got := n.settle(s.publisher())
	if len(got) != rounds*len(from) {
		t.Fatalf("%d messages delivered, want each of %d once", len(got), rounds*len(from))
	}
	if redisconn.IsCluster(s.Redis) { // which keeps each channel's order: both channels' turns are those of one server then
		next := map[string]int{}
		ordered := make([]envelope.Delivery, len(got))
		for _, d := range got {
			at := next[d.Channel]
			next[d.Channel]++
			round := 2 * (at / len(from))
			if d.Channel == "devices/2/events" {
				round++
			}
			ordered[round*len(from)+at%len(from)] = d
		}
		got = ordered
	}
	for i, d := range got {
		if want := strconv.Itoa(i / len(from)); data(t, d) != want {
			t.Fatalf("message %d is %s, want %s", i, data(t, d), want)
		}
	}
}

func testPublishedBy(t *testing.T, s *system) {
	one, other := s.node(), s.node()
	one.subscribe("app", "c", 1)
	other.subscribe("app", "c", 1)
	connections := []uint64{7, 0, 1<<64 - 1, 7}
	for _, c := range connections {
		o := one.Prepare(&envelope.Message{App: "app", Channel: "c", From: "p", Data: []byte("1"), Connection: c})
		sendTo(t, one.Sender, unlimited("app"), o)
	}
	for i, d := range one.wait(len(connections)) {
		if got := d.Publisher; got != connections[i] {
			t.Errorf("published by %d, want %d", got, connections[i])
		}
	}
	for _, d := range other.wait(len(connections)) {
		if got := d.Publisher; got != 0 {
			t.Errorf("another process takes the message for one of its connection %d", got)
		}
	}
}
