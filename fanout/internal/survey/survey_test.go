package survey

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/logtest"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/telemetry"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

const document = `{"apps":[
 {"id":"app","plan":{"name":"s","maxConcurrentConnections":10,"maxMessagesPerPeriod":100,"overagesAllowed":false,"overagesEnabled":false},
  "groups":[{"name":"crm","patterns":["devices/**"],"maxBytes":1048576},{"name":"idle","patterns":["none"]}],
  "keys":[{"id":"sk_a","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]},
 {"id":"free","plan":{"name":"l","maxConcurrentConnections":10,"maxMessagesPerPeriod":100,"overagesAllowed":true,"overagesEnabled":true},
  "keys":[{"id":"sk_b","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]}]}`

// reports are what a Surveyor reports.
type reports chan *telemetry.Survey

func (r reports) next(t *testing.T) *telemetry.Survey {
	t.Helper()
	select {
	case s := <-r:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("there is no report")
		return nil
	}
}

// One node of two surveys, and the other one goes on when it stops.
func TestSurvey(t *testing.T) {
	server := redistest.Start(t)
	dir, err := apps.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	store, log := apps.NewStore(dir), slog.New(slog.DiscardHandler)
	rdb := server.Client()
	from := publish.New(publish.Options{Redis: rdb, Log: log, Now: time.Now})
	for id, messages := range map[string]int{"sk_a": 3, "sk_b": 1} {
		key, _ := dir.Key(id)
		for range messages {
			if r := from.Publish(t.Context(), publish.Message{Grant: auth.KeyGrant(key, "server", nil), Channel: "devices/x", From: "server", Data: []byte("1")}); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}

	first, second := make(reports, 2), make(reports, 2)
	of := func(node string, into reports) *Surveyor {
		return New(Options{Redis: server.Client(), Apps: store, Node: node, Report: func(s *telemetry.Survey) { into <- s }, Log: log})
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	one, two := of("one", first), of("two", second)
	go func() { defer close(ended); one.Run(ctx) }()
	got := first.next(t)
	if len(got.Groups) != 2 || got.Groups[0].OldestAge <= 0 || got.Groups[0].Bytes <= 0 {
		t.Fatalf("found %+v", got)
	}
	got.Groups[0].OldestAge, got.Groups[0].Bytes = 0, 0
	want := &telemetry.Survey{
		Apps: []telemetry.AppUse{
			{App: "app", Messages: 3, Capped: true, MaxConnections: 10, MaxMessages: 100},
			{App: "free", Messages: 1, MaxConnections: 10, MaxMessages: 100},
		},
		Groups: []telemetry.GroupState{
			{App: "app", Group: "crm", Lag: 3, MaxBytes: 1 << 20},
			{App: "app", Group: "idle", MaxBytes: 256 << 20},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("found %+v, want %+v", got, want)
	}

	two.look(ctx)
	if got := second.next(t); got != nil {
		t.Errorf("the second node found %+v while the first makes surveys", got)
	}
	life := rdb.PTTL(ctx, rediskeys.Namespace{}.Survey()).Val()
	if life <= period || life > claimLife {
		t.Errorf("the claim lasts for %v", life)
	}
	stop()
	<-ended
	if got := first.next(t); got != nil {
		t.Errorf("the first node shows %+v when it has stopped", got)
	}
	two.look(t.Context())
	if got := second.next(t); got == nil || len(got.Apps) != 2 {
		t.Errorf("the second node found %+v when the first had stopped", got)
	}
	// It renews its claim.
	rdb.PExpire(t.Context(), rediskeys.Namespace{}.Survey(), time.Second)
	two.look(t.Context())
	if life := rdb.PTTL(t.Context(), rediskeys.Namespace{}.Survey()).Val(); second.next(t) == nil || life <= period {
		t.Errorf("the claim lasts for %v", life)
	}
}

// Without Redis nothing is shown: what was found before would look as if it were so.
func TestWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	dir, err := apps.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	log, into := &logtest.Buffer{}, make(reports, 1)
	s := New(Options{Redis: server.Client(), Apps: apps.NewStore(dir), Node: "one", Report: func(s *telemetry.Survey) { into <- s }, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	s.look(t.Context())
	if into.next(t) == nil {
		t.Fatal("nothing was found")
	}
	server.Stop()
	s.look(t.Context())
	if got := into.next(t); got != nil {
		t.Errorf("found %+v without Redis", got)
	}
	if !strings.Contains(log.String(), "redis does not say") {
		t.Errorf("the log says %s", log)
	}
}

// However many apps and groups there are, some are read.
func TestBounds(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	var all []string
	for i := range most + 20 {
		all = append(all, fmt.Sprintf(`{"id":"app%d","groups":[{"name":"g","patterns":["**"]}],"keys":[{"id":"sk_%d","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]}`, i, i))
	}
	dir, err := apps.Parse([]byte(`{"apps":[` + strings.Join(all, ",") + "]}"))
	if err != nil {
		t.Fatal(err)
	}
	into := make(reports, 1)
	New(Options{Redis: rdb, Apps: apps.NewStore(dir), Node: "one", Report: func(s *telemetry.Survey) { into <- s }, Log: slog.New(slog.DiscardHandler)}).look(t.Context())
	if got := into.next(t); got == nil || len(got.Apps) != most || len(got.Groups) != most {
		t.Errorf("found %+v", got)
	}
}
