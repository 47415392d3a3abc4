package history_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/history"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var keys rediskeys.Namespace

// appOf is an app whose channels remember by these rules of the apps document.
func appOf(t testing.TB, rules string) *apps.App {
	t.Helper()
	return directoryOf(t, rules).Apps()[0]
}

func directoryOf(t testing.TB, rules string) *apps.Directory {
	t.Helper()
	doc := `{"apps":[{"id":"app","historyBytes":1048576,"history":[` + rules + `],` +
		`"plan":{"maxConcurrentConnections":1,"maxMessagesPerPeriod":1000000},` +
		`"keys":[{"id":"sk_a","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]}]}`
	dir, err := apps.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// process publishes and reads as a node or a function does.
type process struct {
	t     testing.TB
	app   *apps.App
	rdb   redis.UniversalClient
	door  *publish.Service
	store *history.Store
}

func newProcess(t testing.TB, rdb redis.UniversalClient, app *apps.App) *process {
	return &process{
		t: t, app: app, rdb: rdb,
		door:  publish.New(publish.Options{Redis: rdb, Keys: keys, Log: slog.New(slog.DiscardHandler), Now: time.Now}),
		store: history.NewStore(rdb, keys),
	}
}

func (p *process) message(channel, data string) publish.Message {
	return publish.Message{Grant: auth.KeyGrant(p.app.Keys[0], "server", nil), Channel: channel, From: "server", Data: []byte(data)}
}

// publish publishes and expects that it is taken.
func (p *process) publish(channel, data string) protocol.Position {
	p.t.Helper()
	r := p.door.Publish(context.Background(), p.message(channel, data))
	if r.Err != nil {
		p.t.Fatalf("publish %s: %v", data, r.Err)
	}
	if r.Position == nil {
		return protocol.Position{}
	}
	return *r.Position
}

// read reads, and fails the test if that does not work.
func (p *process) read(r history.Read) history.Read {
	p.t.Helper()
	r.App = p.app
	if err := p.store.Read(context.Background(), []*history.Read{&r}); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// last reads the last n messages.
func (p *process) last(channel string, n int) history.Read {
	p.t.Helper()
	return p.read(history.Read{Channel: channel, Last: n})
}

func (p *process) since(channel string, position protocol.Position) history.Read {
	p.t.Helper()
	return p.read(history.Read{Channel: channel, Since: &position})
}

// shown is what a Read found: "3: 2=b 3=c", with "recovered" in front, or "more" behind.
func shown(r history.Read) string {
	var b strings.Builder
	if r.Recovered {
		b.WriteString("recovered ")
	}
	fmt.Fprintf(&b, "%d:", r.Position.Offset)
	for _, m := range r.Messages {
		fmt.Fprintf(&b, " %d=%s", m.Offset, m.Data)
	}
	if r.More {
		b.WriteString(" more")
	}
	return b.String()
}

func (p *process) want(r history.Read, want string) {
	p.t.Helper()
	if got := shown(r); got != want {
		p.t.Errorf("read %s: %q, want %q", r.Channel, got, want)
	}
}

func (p *process) forget(channel string) {
	p.t.Helper()
	if err := p.store.Forget(context.Background(), p.app, channel); err != nil {
		p.t.Fatal(err)
	}
}

func code(r publish.Result) protocol.Code {
	if r.Err == nil {
		return ""
	}
	var e *protocol.Error
	errors.As(r.Err, &e)
	return e.Code
}

func period() string { return time.Now().UTC().Format("2006-01") }
