package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/history"
	"fleetwire/pkg/redisconn/redistest"
)

// model is what channels remember, by the words of the protocol.
type model struct {
	size   int
	ttl    time.Duration
	now    time.Time
	places map[string]*remembered
}

// remembered is one channel. Its messages are the newest ones, without a hole.
type remembered struct {
	offset   uint64
	messages []kept
}

type kept struct {
	offset uint64
	data   string
	at     time.Time
}

// of is the channel as it is now: what has expired, or is over the size, is not there.
func (m *model) of(name string) *remembered {
	c := m.places[name]
	if c == nil {
		c = &remembered{}
		m.places[name] = c
	}
	if len(c.messages) > m.size {
		c.messages = c.messages[len(c.messages)-m.size:]
	}
	c.messages = slices.DeleteFunc(c.messages, func(k kept) bool { return !k.at.Add(m.ttl).After(m.now) })
	return c
}

func (m *model) publish(name, data string) uint64 {
	c := m.of(name)
	c.offset++
	c.messages = append(c.messages, kept{c.offset, data, m.now})
	return c.offset
}

// since is what a Read shows.
func (m *model) since(name string, sameEpoch bool, offset uint64) string {
	c := m.of(name)
	first := c.offset + 1
	if len(c.messages) > 0 {
		first = c.messages[0].offset
	}
	recovered := sameEpoch && offset <= c.offset && offset+1 >= first
	if !recovered {
		offset = 0
	}
	return c.show(recovered, offset)
}

func (m *model) last(name string, n int) string {
	c := m.of(name)
	return c.show(false, c.offset-uint64(min(n, int(c.offset))))
}

func (c *remembered) show(recovered bool, behind uint64) string {
	var b strings.Builder
	if recovered {
		b.WriteString("recovered ")
	}
	fmt.Fprintf(&b, "%d:", c.offset)
	for _, k := range c.messages {
		if k.offset > behind {
			fmt.Fprintf(&b, " %d=%s", k.offset, k.data)
		}
	}
	return b.String()
}

// play is one run of random steps against Redis and the model.
type play struct {
	*sweeping
	*model
	random   *rand.Rand
	set      func(passed time.Duration) // sets Redis's clock to now; nil: it cannot be set
	channels []string
	epochs   map[string]string
	n        int
}

// TestModel plays random steps with random sizes and TTLs, and compares what is read.
func TestModel(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint("embedded ", seed), func(t *testing.T) {
			m, rdb := redistest.Embedded(t)
			p := newPlay(t, rdb, seed)
			p.set = func(d time.Duration) {
				m.FastForward(d)
				m.SetTime(p.now)
			}
			p.run()
		})
	}
	rdb := redistest.Start(t).Client()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("redis ", seed), func(t *testing.T) { // where time does not pass
			redistest.Empty(t, rdb)
			newPlay(t, rdb, seed).run()
		})
	}
}

func newPlay(t *testing.T, rdb redis.UniversalClient, seed uint64) *play {
	return &play{
		sweeping: newSweeping(t, rdb, ""),
		model:    &model{now: time.UnixMilli(1_767_222_000_000), places: map[string]*remembered{}},
		random:   rand.New(rand.NewPCG(seed, 1)), channels: []string{"a", "b/1", "b/2"},
		epochs: map[string]string{},
	}
}

func (p *play) run() {
	p.advance(0)
	p.change()
	for range 150 {
		p.step()
	}
}

// advance has time pass, if it can.
func (p *play) advance(d time.Duration) {
	if p.set != nil {
		p.now = p.now.Add(d)
		p.set(d)
	}
}

// change puts another rule in force. All nodes have seen to it before anything else happens.
func (p *play) change() {
	for _, c := range p.channels {
		p.of(c)
	}
	p.size = []int{1, 1, 2, 3, 7, 40}[p.random.IntN(6)]
	p.ttl = time.Duration(1+p.random.IntN(100)) * time.Second
	if p.set == nil {
		p.ttl = time.Hour
	}
	for _, c := range p.channels {
		p.of(c)
	}
	p.use(fmt.Sprintf(`{"pattern":"**","size":%d,"ttlSec":%d}`, p.size, int(p.ttl.Seconds())))
	p.sweep("rules", p.channels...)
}

func (p *play) step() {
	c := p.channels[p.random.IntN(len(p.channels))]
	switch p.random.IntN(12) {
	case 0:
		p.advance(time.Duration(p.random.IntN(40_000)) * time.Millisecond)
	case 1:
		p.sweep("ttl", p.channels...)
		if p.random.IntN(5) == 0 {
			p.change()
		}
	case 2:
		if p.of(c).offset > 0 {
			p.forget(c)
			p.of(c).messages = nil
		}
	case 3:
		p.condition(c)
	case 4, 5, 6:
		p.put(c)
	case 7:
		n := p.random.IntN(p.size + 2)
		p.compare(p.sweeping.last(c, n), map[bool]string{true: p.model.last(c, n), false: p.model.last(c, 0)}[n > 0])
	default:
		offset := uint64(p.random.IntN(int(p.of(c).offset) + 3))
		p.compare(p.sweeping.since(c, protocol.Position{Epoch: p.epoch(c), Offset: offset}), p.model.since(c, true, offset))
		p.compare(p.sweeping.since(c, protocol.Position{Epoch: "other", Offset: offset}), p.model.since(c, false, offset))
	}
}

// put publishes some messages.
func (p *play) put(c string) {
	for range 1 + p.random.IntN(3) {
		p.n++
		data := fmt.Sprint(p.n)
		at := p.sweeping.publish(c, data)
		if want := p.model.publish(c, data); at.Offset != want || at.Epoch != p.epoch(c) {
			p.t.Fatalf("%s was published at %v, want %d of %s", data, at, want, p.epoch(c))
		}
	}
}

// condition publishes on the condition of an offset that may be right.
func (p *play) condition(c string) {
	p.n++
	was := p.of(c).offset
	offset := was - min(was, uint64(p.random.IntN(2)))
	m := p.message(c, fmt.Sprint(p.n))
	m.IfOffset = &offset
	r := p.door.Publish(context.Background(), m)
	if offset == was {
		p.model.publish(c, fmt.Sprint(p.n))
		if r.Err != nil || r.Position.Offset != was+1 {
			p.t.Fatalf("ifOffset %d: %v %v", offset, r.Err, r.Position)
		}
		return
	}
	want := ""
	if kept := p.of(c).messages; len(kept) > 0 {
		want = kept[len(kept)-1].data
	}
	got := ""
	if r.Current != nil {
		got = string(r.Current.Data)
	}
	if code(r) != protocol.OffsetMismatch || r.Position.Offset != was || got != want {
		p.t.Fatalf("ifOffset %d at %d: %v, newest %q, want %q", offset, was, r.Err, got, want)
	}
}

// epoch is the channel's epoch, which stays.
func (p *play) epoch(c string) string {
	if p.epochs[c] == "" {
		p.epochs[c] = p.read(history.Read{Channel: c}).Position.Epoch
	}
	return p.epochs[c]
}

func (p *play) compare(r history.Read, want string) {
	p.t.Helper()
	if got := shown(r); got != want || r.Position.Epoch != p.epoch(r.Channel) {
		p.t.Fatalf("size %d, TTL %v: %s has %q, want %q", p.size, p.ttl, r.Channel, got, want)
	}
}
