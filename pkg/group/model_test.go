package group_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/group"
	"fleetwire/pkg/redisconn/redistest"
)

// model is what waits for a group, by the words of the protocol.
type model struct {
	now      time.Time
	timeout  time.Duration
	age      time.Duration
	deliver  int
	most     int64
	drops    bool
	of       map[string]*part // by the bucket's tag
	bytes    int64
	aged     int64
	overflow int64
}

// part is one bucket.
type part struct {
	owner   string
	waiting []*waits // in the order of the stream
	leases  []*lease
	dead    []*waits
}

type waits struct {
	channel, data string
	bytes         int64
	at            time.Time // in the stream, or among the dead letters
	delivered     bool      // once at least
	gone          bool      // dropped, or dead
}

// lease is a message that was delivered, or refused.
type lease struct {
	of      *waits
	until   time.Time
	attempt int
	nacked  bool
	ackID   string
}

func (m *model) part(channel string) *part {
	tag := keys.Bucket("app", channel).Tag()
	if m.of[tag] == nil {
		m.of[tag] = &part{}
	}
	return m.of[tag]
}

// old says that a message is too old.
func (m *model) old(w *waits) bool { return !w.at.Add(m.age).After(m.now) }

// drop takes a message out of the stream.
func (m *model) drop(p *part, w *waits) {
	w.gone = true
	m.bytes -= w.bytes
	p.waiting = slices.DeleteFunc(p.waiting, func(o *waits) bool { return o == w })
}

func (m *model) bury(p *part, l *lease) {
	p.waiting = slices.DeleteFunc(p.waiting, func(o *waits) bool { return o == l.of })
	l.of.gone = true
	p.dead = append(p.dead, &waits{channel: l.of.channel, data: l.of.data, bytes: l.of.bytes, at: m.now})
}

// put says whether there is room.
func (m *model) put(channel, data string, bytes int64) bool {
	if !m.drops && m.bytes+bytes > m.most {
		return false
	}
	p := m.part(channel)
	over := m.bytes + bytes - m.most
	for freed := int64(0); over > 0 && freed < min(over, bytes) && len(p.waiting) > 0; m.overflow++ {
		freed += p.waiting[0].bytes
		m.drop(p, p.waiting[0])
	}
	p.waiting = append(p.waiting, &waits{channel: channel, data: data, bytes: bytes, at: m.now})
	m.bytes += bytes
	return true
}

// deliveries is what a consumer gets of a bucket if it takes everything, in order.
func (m *model) deliveries(p *part, consumer string) (got []*lease) {
	for _, l := range p.leases {
		if !l.nacked && l.until.After(m.now) && p.owner != consumer {
			return nil
		}
	}
	var due []*lease
	p.leases = slices.DeleteFunc(p.leases, func(l *lease) bool {
		is := !l.until.After(m.now)
		if is && !l.of.gone {
			due = append(due, l)
		}
		return is
	})
	slices.SortFunc(due, func(a, b *lease) int {
		return cmp.Compare(slices.Index(p.waiting, a.of), slices.Index(p.waiting, b.of))
	})
	for _, l := range due {
		switch {
		case m.old(l.of):
			m.aged++
			m.drop(p, l.of)
		case l.attempt >= m.deliver:
			m.bury(p, l)
		default:
			got = append(got, &lease{of: l.of, until: m.now.Add(m.timeout), attempt: l.attempt + 1})
		}
	}
	for _, w := range slices.Clone(p.waiting) {
		if w.delivered {
			continue
		}
		if m.old(w) {
			m.aged++
			m.drop(p, w)
			continue
		}
		w.delivered = true
		got = append(got, &lease{of: w, until: m.now.Add(m.timeout), attempt: 1})
	}
	p.leases = append(p.leases, got...)
	if len(got) > 0 {
		p.owner = consumer
	}
	return got
}

// answered says whether the lease was still held. nack is nil if it was acknowledged.
func (m *model) answered(p *part, id string, nack *group.Nack) bool {
	i := slices.IndexFunc(p.leases, func(l *lease) bool { return !l.nacked && l.ackID == id })
	if i < 0 {
		return false
	}
	l := p.leases[i]
	p.leases = slices.Delete(p.leases, i, i+1)
	switch {
	case l.of.gone:
	case nack == nil:
		m.drop(p, l.of)
	case nack.Uncounted:
		p.leases = append(p.leases, &lease{of: l.of, until: m.now, attempt: l.attempt - 1, nacked: true})
	case l.attempt >= m.deliver:
		m.bury(p, l)
	default:
		p.leases = append(p.leases, &lease{of: l.of, until: m.now.Add(nack.Delay), attempt: l.attempt, nacked: true})
	}
	return true
}

func (m *model) trim(p *part) {
	for len(p.waiting) > 0 && m.old(p.waiting[0]) {
		m.aged++
		m.drop(p, p.waiting[0])
	}
	for len(p.dead) > 0 && m.old(p.dead[0]) {
		m.bytes -= p.dead[0].bytes
		p.dead = p.dead[1:]
	}
}

func (m *model) shown() string {
	s := group.State{Bytes: m.bytes, DroppedByAge: m.aged, DroppedByOverflow: m.overflow}
	for _, p := range m.of {
		pending := int64(0)
		for _, l := range p.leases {
			if !l.nacked && l.until.After(m.now) {
				pending++
			}
		}
		s.Pending += pending
		s.Lag += max(0, int64(len(p.waiting))-pending)
		s.Dead += int64(len(p.dead))
	}
	return numbers(s)
}

// play is one run of random steps against Redis and the model.
type play struct {
	*process
	*model
	random   *rand.Rand
	clock    *redistest.Clock // nil: time does not pass
	channels []string
	given    []string // ackIds
	tags     map[string]string
	n        int
}

// TestModel plays random steps with random groups, and compares what ingesters get.
func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("embedded ", seed), func(t *testing.T) {
			c, rdb := redistest.Clocked(t)
			p := newPlay(t, rdb, seed)
			p.clock, p.now = c, c.Now
			p.run()
		})
	}
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		for seed := range uint64(2) { // where time does not pass
			redistest.Empty(t, rdb)
			newPlay(t, rdb, seed).run()
		}
	})
}

func newPlay(t *testing.T, rdb redis.UniversalClient, seed uint64) *play {
	r := rand.New(rand.NewPCG(seed, 2))
	m := &model{
		now: time.Now(), timeout: time.Duration(30+r.IntN(100)) * time.Second, age: time.Duration(300+r.IntN(3000)) * time.Second,
		deliver: 1 + r.IntN(4), most: 1 << 20, drops: r.IntN(2) == 0, of: map[string]*part{},
	}
	overflow := "refuse"
	if m.drops {
		overflow = "drop_oldest"
	}
	g := fmt.Sprintf(`{"name":"ingest","patterns":["**"],"ackTimeoutSec":%d,"maxDeliver":%d,"maxBytes":%d,"maxAgeSec":%d,"overflow":%q}`,
		int(m.timeout.Seconds()), m.deliver, m.most, int(m.age.Seconds()), overflow)
	history := `"history":[{"pattern":"h/*","size":5,"ttlSec":60}],`
	return &play{
		process: newProcess(t, rdb, g, history), model: m, random: r,
		channels: []string{"a", "b/1", "b/2", "h/1", "h/2"}, tags: map[string]string{},
	}
}

func (p *play) run() {
	for range 200 {
		p.step()
		p.wantState(p.model.shown())
		if p.t.Failed() {
			return
		}
	}
}

func (p *play) step() {
	switch p.random.IntN(12) {
	case 0, 1, 2, 3:
		p.putOne()
	case 4, 5, 6:
		p.pullAll()
	case 7, 8:
		p.answer()
	case 9:
		p.letters()
	case 10:
		if p.clock != nil {
			p.clock.Pass(time.Duration(p.random.IntN(40)) * time.Second)
			p.model.now = p.clock.Now
		}
	case 11:
		p.process.sweep("ingest", p.channels...)
		for _, part := range p.of {
			p.model.trim(part)
		}
	}
	want := strconv.FormatInt(p.model.bytes, 10)
	if got := cmp.Or(p.counted()["all"], "0"); got != want {
		p.t.Errorf("the group counts %s bytes, want %s", got, want)
	}
}

func (p *play) channel() string { return p.channels[p.random.IntN(len(p.channels))] }

func (p *play) putOne() {
	p.n++
	channel, data := p.channel(), strconv.Itoa(p.n)
	if p.random.IntN(3) > 0 {
		data += strings.Repeat("0", p.random.IntN(30000))
	}
	before, dropped := p.model.bytes, p.overflow
	r := p.door.Publish(ctx, p.message(channel, data))
	bytes := p.bytesOf(channel, data)
	if room := p.model.put(channel, data, bytes); room != (r.Err == nil) || !room && code(r) != protocol.GroupFull {
		p.t.Errorf("publish %d of %d bytes to %s with %d: %v, dropped %d", p.n, bytes, channel, before, r.Err, p.overflow-dropped)
	}
}

// bytesOf is what a message counts: its channel and what is published, in steps.
func (p *play) bytesOf(channel, data string) int64 {
	head := len(`{"type":"message","channel":"","from":"device","data":}`) + len(channel)
	const envelope, metadata = 31, len(`{"v":1}`)
	frame := 2
	switch body := head + len(data); {
	case body > 65535:
		frame = 10
	case body > 125:
		frame = 4
	}
	n := len(channel) + envelope + metadata + frame + head + len(data)
	if strings.HasPrefix(channel, "h/") {
		n = len(channel) + 27 + len("device") + metadata + len(data)
	}
	return group.Bytes(n)
}

// pullAll pulls some, and then the rest.
func (p *play) pullAll() {
	consumer := []string{"one", "two"}[p.random.IntN(2)]
	most := 1 + p.random.IntN(20)
	got := p.pull(consumer, most)
	if len(got) > most {
		p.t.Errorf("got %d messages, asked for %d", len(got), most)
	}
	if len(got) == most {
		got = append(got, p.pull(consumer, 500)...)
	}
	of := map[string][]group.Message{}
	for _, m := range got {
		tag := keys.Bucket("app", m.Channel).Tag()
		of[tag] = append(of[tag], m)
		p.given, p.tags[m.AckID] = append(p.given, m.AckID), tag
	}
	for tag, part := range p.of {
		leases := p.model.deliveries(part, consumer)
		if len(leases) != len(of[tag]) {
			p.t.Errorf("%s got %q of %s, want %d messages", consumer, shown(of[tag]), tag, len(leases))
			return
		}
		for i, m := range of[tag] {
			l := leases[i]
			if m.Channel != l.of.channel || string(m.Data) != l.of.data || m.Attempt != l.attempt {
				p.t.Errorf("%s got %q, want %s=%.20s*%d", consumer, shown(of[tag][i:i+1]), l.of.channel, l.of.data, l.attempt)
			}
			l.ackID = m.AckID
		}
	}
}

// answer acknowledges and refuses some of what was ever given.
func (p *play) answer() {
	if len(p.given) == 0 {
		return
	}
	var acks []string
	var nacks []group.Nack
	for range 1 + p.random.IntN(10) {
		id := p.given[p.random.IntN(len(p.given))]
		if p.random.IntN(3) > 0 {
			id = p.given[max(0, len(p.given)-1-p.random.IntN(10))]
		}
		if slices.Contains(acks, id) || slices.ContainsFunc(nacks, func(n group.Nack) bool { return n.AckID == id }) {
			continue
		}
		if p.random.IntN(3) > 0 {
			acks = append(acks, id)
		} else {
			delay := time.Duration(0)
			if p.clock != nil {
				delay = time.Duration(p.random.IntN(60)) * time.Second
			}
			nacks = append(nacks, group.Nack{AckID: id, Delay: delay, Uncounted: p.random.IntN(3) == 0})
		}
	}
	held, err := p.store.Ack(ctx, p.app, p.group, acks, nacks)
	if err != nil {
		p.t.Fatal(err)
	}
	for i, id := range acks {
		if want := p.model.answered(p.of[p.tags[id]], id, nil); held[i] != want {
			p.t.Errorf("ack of %s: %v, want %v", id, held[i], want)
		}
	}
	for i, n := range nacks {
		if want := p.model.answered(p.of[p.tags[n.AckID]], n.AckID, &n); held[len(acks)+i] != want {
			p.t.Errorf("nack of %s: %v, want %v", n.AckID, held[len(acks)+i], want)
		}
	}
}

// letters looks at the dead letters, and moves or deletes all.
func (p *play) letters() {
	var got []string
	for after := ""; ; {
		page, next, err := p.store.Dead(ctx, p.app, p.group, after, 3)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, l := range page {
			got = append(got, l.Channel+"="+string(l.Data))
		}
		if after = next; next == "" {
			break
		}
	}
	var want []string
	for _, part := range p.of {
		for _, w := range part.dead {
			want = append(want, w.channel+"="+w.data)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		p.t.Errorf("%d dead letters, want %d", len(got), len(want))
	}
	redrive := p.random.IntN(2) == 0
	do := p.store.DeleteDead
	if redrive {
		do = p.store.Redrive
	}
	if n, err := do(ctx, p.app, p.group, nil); err != nil || n != len(want) {
		p.t.Errorf("%d of %d dead letters, %v", n, len(want), err)
	}
	for _, part := range p.of {
		for _, w := range part.dead {
			if redrive {
				part.waiting = append(part.waiting, &waits{channel: w.channel, data: w.data, bytes: w.bytes, at: p.model.now})
			} else {
				p.model.bytes -= w.bytes
			}
		}
		part.dead = nil
	}
}
