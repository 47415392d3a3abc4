package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"fleetwire/clients/go/client"
	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
)

// patience bounds what a script waits for.
const patience = 20 * time.Second

// testing.M, and a look for goroutines that it left.
type leaks struct{ *testing.M }

func (m leaks) Run() int {
	code := m.M.Run()
	err := goleak.Find(
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"), // never end by design
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
	if code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leaks{m}, map[string]func(){"fleetwire": main})
}

// Each file of testdata is a story that a person tells with the program. Beside it
// runs a service of its own. UPDATE_SCRIPTS=1 writes what the program prints into the files.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			w, err := newWorld(env)
			if err == nil {
				env.Values[worldKey{}] = w
			}
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"devices": devices, "flaky": flaky, "foreign": foreign,
			"norm": norm, "subscribed": subscribed, "device": device, "status": status, "redrivable": redrivable, "counted": counted, "failing": failing,
		},
	})
}

// world is what a story happens in.
type world struct {
	service *client.REST
	url     string
	mu      sync.Mutex
	devices []*client.Client
}

// worldKey finds the world of a story.
type worldKey struct{}

const (
	keyID  = "sk_live_0123456789abcdef01234567"
	secret = "0123456789abcdef0123456789abcdef0123456789abcdef"
)

const document = `{"apps":[{"id":"app_demo","limits":{"connectsPerAddressPerMin":100000},
 "history":[{"pattern":"fleets/*/log","size":100,"ttlSec":86400}],
 "groups":[{"name":"ingest","patterns":["devices/*/events"],"maxDeliver":1},
   {"name":"crm","patterns":["devices/*/alarms"],"sink":{"type":"webhook","url":"https://127.0.0.1:1/in","secrets":["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]}}],
 "keys":[{"id":"` + keyID + `","secret":"` + secret + `","channelPatterns":["**","_system/connectivity/**"],"actions":["publish","subscribe","presence","send"]}]}]}`

// newWorld starts a service for one story, and ends it with it.
func newWorld(env *testscript.Env) (*world, error) {
	directory, err := apps.Parse([]byte(document))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s, err := stack.New(ctx, stack.Options{Listen: "127.0.0.1:0", Ops: "127.0.0.1:0", Apps: apps.NewStore(directory), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		stop()
		return nil, err
	}
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	w := &world{url: "http://" + s.Node.Addr()}
	env.Defer(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, d := range w.devices {
			d.Close()
			<-d.Done()
		}
		stop()
		<-ended
	})
	w.service = &client.REST{BaseURL: w.url, SecretKey: keyID + "_secret_" + secret}
	env.Setenv("URL", w.url)
	env.Setenv("OPS", "http://"+s.Node.OpsAddr())
	env.Setenv("KEY", w.service.SecretKey)
	env.Setenv("FLEETWIRE_URL", w.url)
	env.Setenv("FLEETWIRE_SECRET_KEY", w.service.SecretKey)
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("TZ", "UTC")
	env.Setenv("CONTROL", "\u009b2J\u202e")
	env.Setenv("SEVERAL", "{\n  \"a\": \"b\u009b\"\n}")
	return w, nil
}

// passing is what differs from run to run, and how it is written in a story.
var passing = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`http://127\.0\.0\.1:\d+`), "URL"},
	{regexp.MustCompile(`\b127\.0\.0\.1\b`), "ADDRESS"},
	{regexp.MustCompile(`cmd_[a-z0-9]+`), "cmd_ID"},
	{regexp.MustCompile(`(sk|pk)_live_[0-9a-f]{24}`), "${1}_live_ID"},
	{regexp.MustCompile(`_secret_[0-9a-f]{48}`), "_secret_SECRET"},
	{regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`), "JWT"},
	{regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `), "TIME "},
	{regexp.MustCompile(`epoch [A-Za-z0-9]{16}`), "epoch EPOCH"},
	{regexp.MustCompile(`"epoch":"[A-Za-z0-9]{16}"`), `"epoch":"EPOCH"`},
	{regexp.MustCompile(`"(\w*At|\w*Unix|\w*Ms)":\d+(\.\d+)?`), `"$1":N`},
	{regexp.MustCompile(`"ackId":"[\w-]+"`), `"ackId":"ID"`},
	{regexp.MustCompile(`"id":"[A-Za-z0-9_-]{20,}"`), `"id":"ID"`},
	{regexp.MustCompile(`\b[0-9a-f]{16}(-[0-9a-z]+)?\b`), "HEX"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|µs|ns|s)\b`), "TOOK"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DATE"},
	{regexp.MustCompile(`at most \d+(, \d+ are open)?`), "at most N$1"},
	{regexp.MustCompile(`N, \d+ are open`), "N, N are open"},
	{regexp.MustCompile(`(?m)[ ]+$`), ""},
	{regexp.MustCompile(` {2,}`), "  "},
}

// norm: norm stdout|stderr FILE writes what the last command printed, without what differs from
// run to run, into a file.
func norm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: norm stdout|stderr FILE")
	}
	text := ts.ReadFile(args[0])
	for _, p := range passing {
		text = p.what.ReplaceAllString(text, p.as)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// status: status N COMMAND… runs the program, which has to exit with N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if ended, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		got = ended.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// subscribed: subscribed PEER CHANNEL waits until a peer is subscribed.
func subscribed(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, args[0]+" is subscribed to "+args[1], func() bool {
		p, err := worldOf(ts).service.Peer(context.Background(), args[0])
		return err == nil && slices.ContainsFunc(p.Connections, func(c client.Connection) bool { return slices.Contains(c.Subscriptions, args[1]) })
	})
}

// redrivable waits until a group has so many dead letters.
func redrivable(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, args[1]+" dead letters", func() bool {
		raw, err := worldOf(ts).service.Do(context.Background(), "GET", "/groups/"+args[0], nil)
		return err == nil && strings.Contains(string(raw), `"dead":`+args[1]+",")
	})
}

// counted: counted CHANNEL N waits until so many messages of a channel are in the usage.
func counted(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, args[1]+" messages of "+args[0]+" are counted", func() bool {
		raw, err := worldOf(ts).service.Do(context.Background(), "GET", "/usage/channels", nil)
		return err == nil && strings.Contains(string(raw), `{"channel":"`+args[0]+`","published":`+args[1]+",")
	})
}

// failing: failing GROUP waits until the group's sink fails.
func failing(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "the sink of "+args[0]+" fails", func() bool {
		raw, err := worldOf(ts).service.Do(context.Background(), "GET", "/groups/"+args[0], nil)
		return err == nil && strings.Contains(string(raw), `"state":"failing"`)
	})
}

func eventually(ts *testscript.TestScript, what string, is func() bool) {
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) { // REST is asked, and its rate is bounded
		if time.Now().After(end) {
			ts.Fatalf("waited %v: %s", patience, what)
		}
	}
}

// device: device PEER CHANNEL ANSWER connects a device that answers the commands of a channel. The
// answer "fail" is a failure.
func device(ts *testscript.TestScript, _ bool, args []string) {
	w, ctx := worldOf(ts), context.Background()
	d, err := client.Dial(ctx, client.Options{URL: w.url, Token: w.service.Tokens(client.TokenRequest{
		Peer: args[0], Channels: []string{args[1]}, PeerMetadata: map[string]string{"firmware": "v3"},
	})})
	ts.Check(err)
	w.mu.Lock()
	w.devices = append(w.devices, d)
	w.mu.Unlock()
	ts.Check(d.HandleCommands(ctx, args[1], func(context.Context, client.Command) (any, error) {
		if args[2] == "fail" {
			return nil, errors.New("no power")
		}
		return json.RawMessage(args[2]), nil
	}))
	subscribed(ts, false, args[:2])
}
