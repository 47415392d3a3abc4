package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// book is what publishers and subscribers say was at each position. They must all say the
// same.
type book struct {
	mu   sync.Mutex
	data map[position]string
}

func (b *book) note(at position, data string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if was, there := b.data[at]; there && was != data {
		return fmt.Errorf("at %+v is %s, and %s", at, was, data)
	}
	b.data[at] = data
	return nil
}

// story is one channel that is published to without a pause, and read by many.
type story struct {
	t       *testing.T
	key     *keyDoc
	channel string
	book    book
	stop    chan struct{}
	writers sync.WaitGroup
	written atomic.Int64
}

func newStory(t *testing.T, key *keyDoc) *story {
	return &story{t: t, key: key, channel: "log/story", book: book{data: map[position]string{}}, stop: make(chan struct{})}
}

// end ends the writers.
func (s *story) end() {
	close(s.stop)
	s.writers.Wait()
}

func (s *story) over() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// writeOn publishes over a socket, some messages ahead of their acks. It does not retry
// messages that are refused.
func (s *story) writeOn(n *node, name string) {
	w := n.connect(s.t, s.key.token(name, nil))
	s.writers.Go(func() {
		const ahead = 16
		for i := 0; !s.over(); i += ahead {
			for k := i; k < i+ahead; k++ {
				if err := w.write(fmt.Sprintf(`{"type":"publish","channel":%q,"data":"%s-%d","requestId":"%d"}`, s.channel, name, k, k)); err != nil {
					s.t.Errorf("%s: %v", name, err)
					return
				}
			}
			for range ahead {
				f, err := w.hears()
				if err == nil && f.Type == "ack" {
					s.written.Add(1)
					err = s.book.note(f.position, fmt.Sprintf(`"%s-%s"`, name, f.RequestID))
				}
				if err != nil {
					s.t.Errorf("%s: %v", name, err)
					return
				}
			}
		}
	})
}

// writeOver publishes over REST.
func (s *story) writeOver(n *node) {
	s.writers.Go(func() {
		for i := 0; !s.over(); i++ {
			data := fmt.Sprintf(`"rest-%d"`, i)
			a, err := n.call("POST", "/v1/channels/"+escaped(s.channel)+"/publish", s.key.credential(), `{"data":`+data+`}`)
			var at position
			if err == nil && a.status == 200 && json.Unmarshal([]byte(a.body), &at) == nil && at.Epoch != "" {
				s.written.Add(1)
				err = s.book.note(at, data)
			}
			if err != nil {
				s.t.Errorf("REST: %v", err)
				return
			}
		}
	})
}

// reader follows the story, and knows up to where it has it.
type reader struct {
	*socket
	story    *story
	at       position
	replayed int // the offset up to which messages are replayed
	gaps     []position
}

// enter connects the reader to a node, under a name.
func (r *reader) enter(n *node, name string) (err error) {
	r.socket, err = n.tryEnter(r.story.t, "token="+r.story.key.token(name, nil))
	return err
}

// join subscribes, and reads all that is replayed. fields are as since makes them.
func (r *reader) join(fields string) (ack heard, err error) {
	last := 0
	asked, _ := fmt.Sscanf(fields, `,"last":%d`, &last)
	if err := r.write(`{` + joining(r.story.channel, fields) + `,"requestId":"join"}`); err != nil {
		return ack, err
	}
	if ack, err = r.hears(); err != nil || ack.Type != "ack" || ack.RequestID != "join" {
		return ack, fmt.Errorf("the answer to a subscribe is %+v, %w", ack, err)
	}
	r.replayed = 0
	if fields != "" {
		r.replayed = ack.Offset
	}
	switch {
	case ack.Recovered:
	case asked == 1:
		r.at = position{ack.Epoch, max(0, ack.Offset-last)}
	default: // nothing was asked for, or not all is there: the first that is begins
		r.at = position{ack.Epoch, -1}
		if fields == "" {
			r.at.Offset = ack.Offset
		}
	}
	return ack, r.hear(ack.position)
}

// hear reads up to a position.
func (r *reader) hear(upTo position) error {
	for r.at.Offset < upTo.Offset || r.at.Epoch != upTo.Epoch {
		f, err := r.hears()
		if err != nil {
			return err
		}
		if err := r.take(f); err != nil {
			return err
		}
	}
	return nil
}

// take takes the next message, or a gap. Messages that the reader asked for are replayed up
// to the ack's position, and live behind it.
func (r *reader) take(f heard) error {
	switch {
	case f.Type == "gap" && f.Channel == r.story.channel:
		r.at = f.position
		r.gaps = append(r.gaps, f.position)
		return nil
	case f.Type != "message" || r.at.Offset >= 0 && f.Offset != r.at.Offset+1 || f.Replayed != (f.Offset <= r.replayed):
		return fmt.Errorf("%s: got %+v with %s behind %+v", r.welcome.PeerID, f, f.Data, r.at)
	}
	r.at.Offset = f.Offset
	return r.story.book.note(r.at, string(f.Data))
}

// unsubscribe takes what comes before the ack.
func (r *reader) unsubscribe() error {
	if err := r.write(`{"type":"unsubscribe","channel":"` + r.story.channel + `","requestId":"leave"}`); err != nil {
		return err
	}
	for {
		f, err := r.hears()
		switch {
		case err != nil:
			return err
		case f.Type == "ack":
			return nil
		}
		if err := r.take(f); err != nil {
			return err
		}
	}
}

// Two nodes and REST publish at full rate, and subscribers join on both thousands of times,
// with since, with last and with neither: no gap, no repetition, in order.
func TestJoinsAtFullRate(t *testing.T) {
	key := newKey("joins", "**")
	const size = 1000
	onEachRedis(t, []*appDoc{remembering("app_joins", size, key)}, func(t *testing.T, s *system) {
		rounds := map[int]int{1: 25, 2: 100}[len(s.nodes)]
		story := newStory(t, key)
		defer story.end()
		story.writeOn(s.first(), "one")
		story.writeOn(s.last(), "two")
		story.writeOver(s.last())
		each(t, 20, func(i int) error {
			r := &reader{story: story}
			if err := r.enter(s.nodes[i%len(s.nodes)], fmt.Sprint("reader-", i)); err != nil {
				return err
			}
			for round := range rounds {
				fields, was := "", r.at
				switch {
				case round%3 == 0:
					fields = fmt.Sprintf(`,"last":%d`, 1+rand.IntN(20))
				case round%3 == 1:
					fields = since(r.at)
				}
				ack, err := r.join(fields)
				if err == nil && strings.Contains(fields, "since") && ack.Recovered != (ack.Offset-was.Offset <= size) {
					err = fmt.Errorf("recovered: %v since %d at %d", ack.Recovered, was.Offset, ack.Offset)
				}
				if err == nil {
					err = r.hear(position{ack.Epoch, ack.Offset + 3})
				}
				if err == nil {
					err = r.unsubscribe()
				}
				if err != nil {
					return fmt.Errorf("round %d, %s: %w", round, fields, err)
				}
			}
			return nil
		})
	})
}

// A node is killed while others publish: its subscribers go on where they were, on another.
func TestNodeKilledUnderSubscribers(t *testing.T) {
	key := newKey("orphans", "**")
	docs := []*appDoc{remembering("app_orphans", 1000, key)}
	redis := redistest.Start(t)
	s := newSystem(t, docs...)
	stays := s.start(redis.URL(), options{})
	p, dies := fanout(t, nil, "-apps", documentFile(t, docs...), "-redis", redis.URL())
	story := newStory(t, key)
	writer := stays.connect(t, key.token("writer", nil))
	last := position{}
	publish := func(n int) error {
		for range n {
			if err := writer.write(`{"type":"publish","channel":"log/story","data":1,"requestId":"p"}`); err != nil {
				return err
			}
			ack, err := writer.hears()
			if err != nil || ack.Type != "ack" {
				return fmt.Errorf("the answer to a publish is %+v, %v", ack, err)
			}
			last = ack.position
		}
		return nil
	}
	readers := make([]*reader, 20)
	each(t, len(readers), func(i int) error {
		readers[i] = &reader{story: story}
		if err := readers[i].enter(dies, fmt.Sprint("reader-", i)); err != nil {
			return err
		}
		_, err := readers[i].join(`,"last":1`)
		return err
	})
	if err := errors.Join(publish(100), p.cmd.Process.Kill(), publish(100)); err != nil {
		t.Fatal(err)
	}
	each(t, len(readers)+1, func(i int) error {
		if i == len(readers) {
			return publish(300)
		}
		r := readers[i]
		for {
			f, err := r.hears()
			if err != nil {
				break
			}
			if err := r.take(f); err != nil {
				return err
			}
		}
		if err := r.enter(stays, r.welcome.PeerID); err != nil {
			return err
		}
		ack, err := r.join(since(r.at))
		if err == nil && !ack.Recovered {
			err = errors.New("not recovered")
		}
		return err
	})
	each(t, len(readers), func(i int) error { return readers[i].hear(last) })
}

// A node's connections to Redis are cut while others publish. Its subscribers get what they
// missed, and are told what is forgotten by then, if they have asked for history.
func TestLinkIsCutUnderSubscribers(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
		gaps bool
	}{{"all is there", 1000, false}, {"too much is forgotten", 3, true}} {
		t.Run(c.name, func(t *testing.T) {
			key := newKey("cut", "**")
			redis := redistest.Start(t)
			proxy := redistest.NewProxy(t, strings.TrimPrefix(redis.URL(), "redis://"))
			s := newSystem(t, remembering("app_cut", c.size, key))
			cut := s.start(proxy.URL(), options{})
			other := s.start(redis.URL(), options{})
			story := newStory(t, key)
			writer := other.connect(t, key.token("writer", nil))
			publish := func(n int) (at position) {
				for i := range n {
					at = writer.answer(fmt.Sprintf(`"type":"publish","channel":"log/story","data":"%d"`, i)).position
				}
				return at
			}
			asks := &reader{socket: cut.connect(t, key.token("asks", nil)), story: story}
			own := cut.connect(t, key.token("plain", nil))
			plain := &reader{socket: own, story: story}
			begin := publish(3)
			for r, fields := range map[*reader]string{asks: `,"last":1`, plain: ""} {
				if _, err := r.join(fields); err != nil {
					t.Fatal(err)
				}
			}
			for round := range 3 {
				cutOff := func([]byte) ([]byte, bool) { return nil, true }
				proxy.Pass(cutOff, cutOff)
				eventually(t, "the node notices", patience, func() bool {
					status, _ := cut.ready()
					return status != 200
				})
				at := publish(10)
				proxy.Pass(nil, nil)
				for _, r := range []*reader{asks, plain} {
					if c.gaps && r == plain { // is told nothing, and goes on where the channel is
						r.at.Offset = at.Offset - c.size
					}
					if err := r.hear(at); err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
				}
			}
			if want := map[bool]int{true: 3}[c.gaps]; len(asks.gaps) != want || len(plain.gaps) > 0 {
				t.Errorf("gaps %v and %v", asks.gaps, plain.gaps)
			}
			if asks.at != (position{begin.Epoch, begin.Offset + 30}) {
				t.Errorf("ends at %+v", asks.at)
			}
			asks.alive()
			own.alive()
		})
	}
}

// Redis starts anew, empty or with its data. Either is another epoch: no position from
// before is taken for one of now, and those that are subscribed are told.
func TestRedisRestartsUnderSubscribers(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(map[bool]string{false: "empty", true: "with its data"}[kept], func(t *testing.T) {
			key := newKey("restarts", "**")
			s := startTwoNodes(t, remembering("app_restarts", 100, key))
			story := newStory(t, key)
			r := &reader{socket: s.first().connect(t, key.token("asks", nil)), story: story}
			plain := s.last().connect(t, key.token("plain", nil)).subscribes("log/story")
			old, err := r.join(`,"last":1`)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				s.last().publish(t, key, "log/story", fmt.Sprintf(`"old-%d"`, i))
				plain.expect(remembered("log/story", "server", fmt.Sprintf(`"old-%d"`, i), i+1, ""))
			}
			if err := r.hear(position{old.Epoch, 5}); err != nil {
				t.Fatal(err)
			}
			if kept {
				s.redis.RestartWithData()
			} else {
				s.redis.Restart()
			}
			for _, n := range s.nodes {
				n.awaitReady(recovery)
			}
			f, err := r.hears()
			if err != nil || f.Type != "gap" || f.Epoch == old.Epoch || f.Offset != map[bool]int{true: 5}[kept] {
				t.Fatalf("after the restart: %+v, %v", f, err)
			}
			r.at = f.position
			late := s.last().connect(t, key.token("late", nil))
			ack := late.answer(joining("log/story", since(position{old.Epoch, 3})))
			if ack.Recovered || ack.position != f.position {
				t.Errorf("since before the restart: %+v, the gap was at %+v", ack, f.position)
			}
			for i := range f.Offset {
				late.expect(remembered("log/story", "server", fmt.Sprintf(`"old-%d"`, i), i+1, replayed))
			}
			s.first().publish(t, key, "log/story", `"new"`)
			for _, d := range []*socket{late, r.socket, plain} {
				d.expect(remembered("log/story", "server", `"new"`, f.Offset+1, ""))
				d.alive()
			}
		})
	}
}

// subscribes subscribes to a channel that remembers.
func (s *socket) subscribes(channel string) *socket {
	s.t.Helper()
	s.answer(joining(channel, ""))
	return s
}
