package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// position is where a channel is.
type position struct {
	Epoch  string `json:"epoch"`
	Offset int    `json:"offset"`
}

// heard is a frame about a channel that remembers.
type heard struct {
	Type, RequestID, Channel, From, Code string
	position
	Recovered, Replayed bool
	FromMetadata, Data  json.RawMessage
}

// hears is the next frame.
func (s *socket) hears() (f heard, err error) {
	text, err := s.read()
	if err != nil {
		return f, fmt.Errorf("%s: %w", s.welcome.PeerID, err)
	}
	return f, json.Unmarshal([]byte(text), &f)
}

// answer sends a frame, and is the ack that comes next.
func (s *socket) answer(fields string) heard {
	s.t.Helper()
	id := s.request(fields)
	f, err := s.hears()
	if err != nil || f.Type != "ack" || f.RequestID != id {
		s.t.Fatalf("%s: the answer to %s is %+v, %v", s.welcome.PeerID, fields, f, err)
	}
	return f
}

func joining(channel, fields string) string {
	return `"type":"subscribe","channel":` + quoted(channel) + fields
}

func since(p position) string {
	return fmt.Sprintf(`,"since":{"epoch":%q,"offset":%d}`, p.Epoch, p.Offset)
}

// remembered is a message's frame.
func remembered(channel, from, data string, offset int, more string) string {
	return strings.TrimSuffix(message(channel, from, data), "}") + fmt.Sprintf(`,"offset":%d%s}`, offset, more)
}

const replayed = `,"replayed":true`

// A subscriber learns where the channel is, gets what it remembers, and then what is
// published on any node and over REST.
func TestHistoryOnSockets(t *testing.T) {
	key := newKey("log", "**")
	onEachRedis(t, []*appDoc{remembering("app_log", 5, key)}, func(t *testing.T, s *system) {
		writer := s.first().connect(t, key.token("writer", claims{"peerMetadata": map[string]any{"name": "Hall"}}))
		first := writer.answer(joining("log/a", "")).position
		if first.Offset != 0 || first.Epoch == "" {
			t.Fatalf("an empty channel is at %+v", first)
		}
		for i := range 3 {
			if got, want := writer.answer(fmt.Sprintf(`"type":"publish","channel":"log/a","data":%d`, i+1)).position, (position{first.Epoch, i + 1}); got != want {
				t.Errorf("published at %+v, want %+v", got, want)
			}
		}
		reader := s.last().connect(t, key.token("reader", nil))
		if got := reader.answer(joining("log/a", `,"last":2,"includeSenderMetadata":true`)); got.Offset != 3 || got.Epoch != first.Epoch {
			t.Errorf("subscribed at %+v", got)
		}
		for i := 2; i <= 3; i++ {
			reader.expect(fmt.Sprintf(`{"type":"message","channel":"log/a","from":"writer","fromMetadata":{"name":"Hall"},"data":%d,"offset":%d,"replayed":true}`, i, i))
		}
		wildcard := s.last().connect(t, key.token("wildcard", nil)).subscribe("log/*")
		s.first().publish(t, key, "log/a", `"rest"`)
		for _, d := range []*socket{writer, reader, wildcard} {
			d.expect(remembered("log/a", "server", `"rest"`, 4, ""))
			d.alive()
		}

		writer.leave()
		back := s.last().connect(t, key.token("writer", nil))
		if got := back.answer(joining("log/a", since(position{first.Epoch, 1}))); !got.Recovered || got.Offset != 4 {
			t.Errorf("back: %+v", got)
		}
		back.expect(remembered("log/a", "writer", "2", 2, replayed)) // its own
		back.expect(remembered("log/a", "writer", "3", 3, replayed))
		back.expect(remembered("log/a", "server", `"rest"`, 4, replayed))
		back.alive()
		for i := range 5 {
			s.first().publish(t, key, "log/a", fmt.Sprint(i))
		}
		for _, p := range []position{{first.Epoch, 3}, {"another", 9}, {first.Epoch, 10}} {
			late := s.first().connect(t, key.token("late", nil))
			if got := late.answer(joining("log/a", since(p))); got.Recovered || got.Offset != 9 {
				t.Errorf("since %+v: %+v", p, got)
			}
			for i := range 5 {
				late.expect(remembered("log/a", "server", fmt.Sprint(i), 5+i, replayed))
			}
			late.alive()
		}
		other := s.last().connect(t, key.token("other", nil))
		if got := other.answer(joining("elsewhere", since(first))); got.Recovered || got.Epoch != "" {
			t.Errorf("a channel that remembers nothing: %+v", got)
		}
	})
}

// A DELETE between two subscribes: what a device has of before is not taken for all there
// was, and offsets go on. Subscribers that are there go on as they were.
func TestDeleteBetweenSubscribes(t *testing.T) {
	key := newKey("forget", "**")
	onEachRedis(t, []*appDoc{remembering("app_forget", 5, key)}, func(t *testing.T, s *system) {
		stays := s.last().connect(t, key.token("stays", nil)).subscribes("log/a")
		d := s.first().connect(t, key.token("device", nil))
		before := d.answer(joining("log/a", `,"last":5`)).position
		w := s.last().connect(t, key.token("writer", nil))
		for i := range 3 {
			w.publishes("log/a", fmt.Sprint(i+1))
			for _, r := range []*socket{d, stays} {
				r.expect(remembered("log/a", "writer", fmt.Sprint(i+1), i+1, ""))
			}
		}
		d.unsubscribe("log/a")
		if a, err := s.last().call("DELETE", "/v1/channels/log%2Fa/messages", key.credential(), ""); err != nil || a.status != 200 {
			t.Fatalf("DELETE: %d %s, %v", a.status, a.body, err)
		}
		for _, c := range []struct {
			fields    string
			recovered bool
		}{{`,"last":5`, false}, {since(position{before.Epoch, 2}), false}, {since(position{before.Epoch, 3}), true}} {
			if got := d.answer(joining("log/a", c.fields)); got.Recovered != c.recovered || got.position != (position{before.Epoch, 3}) {
				t.Errorf("%s: %+v", c.fields, got)
			}
			d.alive() // and nothing is replayed
		}
		w.publishes("log/a", "4")
		for _, r := range []*socket{d, stays} {
			r.expect(remembered("log/a", "writer", "4", 4, ""))
		}
		for offset, recovered := range map[int]bool{2: false, 3: true} {
			if got := d.answer(joining("log/a", since(position{before.Epoch, offset}))); got.Recovered != recovered || got.Offset != 4 {
				t.Errorf("since %d, behind the DELETE: %+v", offset, got)
			}
			d.expect(remembered("log/a", "writer", "4", 4, replayed))
		}
		stays.alive()
	})
}

// A fleet comes back at once, and each device recovers the messages of its own channel and
// those of the fleet's: all, and none twice.
func TestFleetRecovers(t *testing.T) {
	const fleet, each1, each2 = 300, 10, 3
	key := newKey("comeback", "**")
	s := startTwoNodes(t, remembering("app_comeback", 20, key))
	join := func(d *socket, channel string, since position) (ack heard, err error) {
		if err := d.write(`{` + joining(channel, sinceOf(since)) + `,"requestId":"s"}`); err != nil {
			return ack, err
		}
		if ack, err = d.hears(); err == nil && (ack.Type != "ack" || since.Epoch != "" && !ack.Recovered) {
			err = fmt.Errorf("%s joins with %+v", d.welcome.PeerID, ack)
		}
		return ack, err
	}
	devices, own := make([]*socket, fleet), make([]position, fleet)
	var all position
	each(t, fleet, func(i int) error {
		d, err := s.nodes[i%2].tryEnter(t, "token="+key.token(fmt.Sprint("device-", i), nil))
		if err != nil {
			return err
		}
		devices[i] = d
		ack, err := join(d, fmt.Sprint("log/", i), position{})
		own[i] = ack.position
		return err
	})
	watcher := s.first().connect(t, key.token("watcher", nil))
	all = watcher.answer(joining("log/fleet", "")).position
	each(t, fleet, func(i int) error { return devices[i].conn.Close() })
	writer := s.last().connect(t, key.token("writer", nil))
	for i := range fleet {
		for k := range each1 {
			writer.send(fmt.Sprintf(`{"type":"publish","channel":"log/%d","data":%d}`, i, k))
		}
	}
	for k := range each2 {
		writer.publishes("log/fleet", fmt.Sprint(k))
	}
	each(t, fleet, func(i int) error {
		d, err := s.nodes[(i+1)%2].tryEnter(t, "token="+key.token(fmt.Sprint("device-", i), nil))
		if err != nil {
			return err
		}
		for _, c := range []struct {
			channel  string
			since    position
			messages int
		}{{fmt.Sprint("log/", i), own[i], each1}, {"log/fleet", all, each2}} {
			if _, err := join(d, c.channel, c.since); err != nil {
				return err
			}
			for k := range c.messages {
				if err := d.wants(remembered(c.channel, "writer", fmt.Sprint(k), c.since.Offset+k+1, replayed)); err != nil {
					return err
				}
			}
		}
		if err := d.write(`{"type":"ping"}`); err != nil {
			return err
		}
		return d.wants(`{"type":"pong"}`)
	})
}

// sinceOf is since, and nothing without an epoch.
func sinceOf(p position) string {
	if p.Epoch == "" {
		return ""
	}
	return since(p)
}

// publishes publishes to a channel that remembers.
func (s *socket) publishes(channel, data string) position {
	s.t.Helper()
	return s.answer(`"type":"publish","channel":` + quoted(channel) + `,"data":` + data).position
}

// A publish on a socket is taken only where its sender thinks the channel is, and once
// however often it is repeated.
func TestConditionsOnSockets(t *testing.T) {
	key := newKey("twin", "**")
	onEachRedis(t, []*appDoc{remembering("app_twin", 1, key)}, func(t *testing.T, s *system) {
		reader := s.last().connect(t, key.token("reader", nil)).subscribes("log/twin")
		w := s.first().connect(t, key.token("writer", nil))
		first := w.publishes("log/twin", `1,"ifOffset":0`)
		reader.expect(remembered("log/twin", "writer", "1", 1, ""))
		mismatch := func(fields, says string, at position) {
			t.Helper()
			id := w.request(`"type":"publish","channel":"log/twin","data":2,` + fields)
			head := `{"type":"error","requestId":"` + id + `","code":"offset_mismatch","message":"`
			tail := fmt.Sprintf(`","epoch":%q,"offset":%d}`, at.Epoch, at.Offset)
			if got := w.next(); !strings.HasPrefix(got, head) || !strings.HasSuffix(got, tail) || !strings.Contains(got, says) {
				t.Errorf("got %s\nwant %s…%s…%s", got, head, says, tail)
			}
		}
		mismatch(`"ifOffset":0`, "is 1 and not 0", first)
		mismatch(`"ifOffset":2`, "is 1 and not 2", first)
		mismatch(`"ifOffset":1,"ifEpoch":"another"`, "epoch", first)
		w.send(`{"type":"publish","channel":"log/twin","data":2,"ifOffset":7}`) // errors come without a requestId, too
		if f, err := w.hears(); err != nil || f.Code != "offset_mismatch" || f.position != first {
			t.Errorf("without a requestId: %+v, %v", f, err)
		}
		second := w.publishes("log/twin", fmt.Sprintf(`2,"ifOffset":1,"ifEpoch":%q`, first.Epoch))
		reader.expect(remembered("log/twin", "writer", "2", 2, ""))
		if second != (position{first.Epoch, 2}) {
			t.Errorf("published at %+v", second)
		}
		once := w.publishes("log/twin", `3,"idempotencyKey":"k"`)
		for range 3 {
			if again := w.publishes("log/twin", `3,"idempotencyKey":"k"`); again != once {
				t.Errorf("repeated at %+v, published at %+v", again, once)
			}
		}
		reader.expect(remembered("log/twin", "writer", "3", 3, ""))
		w.expectError(w.request(`"type":"publish","channel":"log/twin","data":4,"idempotencyKey":"k"`), "idempotency_conflict")
		w.expectError(w.request(`"type":"publish","channel":"elsewhere","data":4,"ifOffset":0`), "malformed_message", "remembers")
		w.acked(`"type":"publish","channel":"elsewhere","data":4,"idempotencyKey":"k"`)
		reader.alive()
	})
}

// HOSTILE: a peer that reads nothing asks for all that a channel has, while that goes on. It
// is sent what its socket takes, and costs no more; others notice nothing.
func TestSlowReplay(t *testing.T) {
	key := newKey("slow", "**")
	s := startTwoNodes(t, remembering("app_slow", 1000, key))
	large := quoted(strings.Repeat("x", 30_000))
	w := s.first().connect(t, key.token("writer", nil))
	for range 400 { // 12 MB
		w.publishes("log/large", large)
	}
	slow := s.last().connect(t, key.token("slow", nil))
	ack := slow.answer(joining("log/large", `,"last":1000`))
	quick := s.last().connect(t, key.token("quick", nil))
	quick.answer(joining("log/large", ""))
	for i := range 100 { // three times what a connection may have unsent
		at := w.publishes("log/large", large)
		quick.expect(remembered("log/large", "writer", large, at.Offset, ""))
		if i%10 == 0 {
			quick.alive()
		}
	}
	for i := range 500 {
		more := ""
		if i < ack.Offset {
			more = replayed
		}
		slow.expect(remembered("log/large", "writer", large, i+1, more))
	}
	slow.alive()
}
