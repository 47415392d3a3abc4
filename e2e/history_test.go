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

// told is a frame about a channel that remembers.
type told struct {
	Type, RequestID, Channel, From, Code string
	position
	Recovered, Replayed bool
	FromMetadata, Data  json.RawMessage
}

// hears is the next frame.
func (s *socket) hears() (f told, err error) {
	text, err := s.read()
	if err != nil {
		return f, fmt.Errorf("%s: %w", s.welcome.PeerID, err)
	}
	return f, json.Unmarshal([]byte(text), &f)
}

// answer sends a frame, and is the ack that comes next.
func (s *socket) answer(fields string) told {
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
