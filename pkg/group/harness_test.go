package group_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/group"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var (
	keys rediskeys.Namespace
	ctx  = context.Background()
)

// directoryOf is a document with one app that has these groups and other members.
func directoryOf(t testing.TB, groups, members string) *apps.Directory {
	t.Helper()
	doc := `{"apps":[{"id":"app","groups":[` + groups + `],` + members +
		`"plan":{"maxConcurrentConnections":1,"maxMessagesPerPeriod":1000000},` +
		`"keys":[{"id":"sk_a","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish","subscribe"]}]}]}`
	dir, err := apps.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// process publishes, ingests and sweeps as a node does.
type process struct {
	t        testing.TB
	rdb      redis.UniversalClient
	document *apps.Directory
	app      *apps.App
	group    *apps.Group // the first
	door     *publish.Service
	store    *group.Store
	sweeper  *group.Sweeper
	dropped  map[group.Drop]int
}

func newProcess(t testing.TB, rdb redis.UniversalClient, groups, members string) *process {
	p := &process{t: t, rdb: rdb, dropped: map[group.Drop]int{}}
	p.use(groups, members)
	dropped := func(why group.Drop, n int) { p.dropped[why] += n }
	p.door = publish.New(publish.Options{Redis: rdb, Keys: keys, Log: slog.New(slog.DiscardHandler), Now: time.Now, Dropped: dropped})
	opt := group.Options{Redis: rdb, Keys: keys, Dropped: dropped}
	p.store = group.NewStore(opt)
	p.sweeper = group.NewSweeper(opt, func() *apps.Directory { return p.document })
	return p
}

// use puts another document in force.
func (p *process) use(groups, members string) {
	p.document = directoryOf(p.t, groups, members)
	p.app = p.document.Apps()[0]
	if len(p.app.Groups) > 0 {
		p.group = p.app.Groups[0]
	}
}

func (p *process) message(channel, data string) publish.Message {
	return publish.Message{
		Grant: auth.KeyGrant(p.app.Keys[0], "device", nil), Channel: channel, From: "device",
		FromMetadata: []byte(`{"v":1}`), Data: []byte(data),
	}
}

// publish publishes, and returns the code of the refusal.
func (p *process) publish(channel, data string) protocol.Code {
	p.t.Helper()
	return code(p.door.Publish(ctx, p.message(channel, data)))
}

func (p *process) mustPublish(channel, data string) {
	p.t.Helper()
	if r := p.door.Publish(ctx, p.message(channel, data)); r.Err != nil {
		p.t.Fatalf("publish %.80s: %v", data, r.Err)
	}
}

func code(r publish.Result) protocol.Code {
	if r.Err == nil {
		return ""
	}
	return r.Err.Code
}

func (p *process) pull(consumer string, most int) []group.Message {
	p.t.Helper()
	got, err := p.store.Pull(ctx, group.Pull{App: p.app, Group: p.group, Consumer: consumer, Max: most, MaxBytes: 64 << 20})
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// shown is "channel=data" of each message, with "*ATTEMPT" behind what was delivered before.
func shown(messages []group.Message) string {
	var b strings.Builder
	for i, m := range messages {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%.20s", m.Channel, m.Data)
		if m.Attempt > 1 {
			fmt.Fprintf(&b, "*%d", m.Attempt)
		}
	}
	return b.String()
}

func (p *process) wantPull(consumer string, most int, want string) []group.Message {
	p.t.Helper()
	got := p.pull(consumer, most)
	if s := shown(got); s != want {
		p.t.Errorf("%s got %q, want %q", consumer, s, want)
	}
	return got
}

func ids(messages []group.Message) (all []string) {
	for _, m := range messages {
		all = append(all, m.AckID)
	}
	return all
}

// ack acknowledges, and wants of each to hear this.
func (p *process) ack(messages []group.Message, held bool) {
	p.t.Helper()
	got, err := p.store.Ack(ctx, p.app, p.group, ids(messages), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range got {
		if got[i] != held {
			p.t.Errorf("ack of %s: %v, want %v", shown(messages[i:i+1]), got[i], held)
		}
	}
}

func (p *process) nack(delay time.Duration, messages ...group.Message) []bool {
	p.t.Helper()
	var nacks []group.Nack
	for _, id := range ids(messages) {
		nacks = append(nacks, group.Nack{AckID: id, Delay: delay})
	}
	held, err := p.store.Ack(ctx, p.app, p.group, nil, nacks)
	if err != nil {
		p.t.Fatal(err)
	}
	return held
}

func (p *process) state() group.State {
	p.t.Helper()
	s, err := p.store.State(ctx, p.app, p.group)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// numbers are those of a State.
func numbers(s group.State) string {
	return fmt.Sprintf("lag %d pending %d dead %d bytes %d aged %d overflow %d", s.Lag, s.Pending, s.Dead, s.Bytes, s.DroppedByAge, s.DroppedByOverflow)
}

func (p *process) wantState(want string) {
	p.t.Helper()
	if got := numbers(p.state()); got != want {
		p.t.Errorf("the group has %s, want %s", got, want)
	}
}

// due are the deadlines of the buckets of these channels.
func (p *process) due(channel string) []string {
	return p.rdb.ZRange(ctx, keys.Bucket("app", channel).Due(string(deadline.Groups)), 0, -1).Val()
}

// sweep has the handler see to a deadline of the buckets of these channels.
func (p *process) sweep(id string, channels ...string) {
	p.t.Helper()
	var due []deadline.Due
	for _, c := range channels {
		due = append(due, deadline.Due{App: "app", Bucket: keys.Bucket("app", c), IDs: []string{id}})
	}
	if err := p.sweeper.Due(ctx, due); err != nil {
		p.t.Fatal(err)
	}
}

// counted is what the group's count says, of all and of each bucket.
func (p *process) counted() map[string]string {
	return p.rdb.HGetAll(ctx, keys.GroupBytes("app", p.group.Name)).Val()
}

// used is how many messages the app has used of its quota.
func (p *process) used() int {
	n, _ := p.rdb.Get(ctx, keys.MessageCount("app", time.Now().UTC().Format("2006-01"))).Int()
	return n
}
