package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/nodejstest"
	"fleetwire/pkg/redisconn/redistest"
)

// npmFolder has the npm package @metered-ca/realtime, as it is published, and
// the programs that use it.
const npmFolder = "../e2e/npm"

// fleet is two production nodes and a control plane, each a process of its own,
// on a real Redis, and one address for the nodes.
type fleet struct {
	t        *testing.T
	doc      string // the apps document's file
	redis    *redistest.Server
	programs []*program
	nodes    []*node
	control  *node
	balancer *balancer
}

func startFleet(t *testing.T, docs ...*appDoc) *fleet {
	t.Helper()
	f := &fleet{t: t, redis: redistest.Start(t), doc: documentFile(t, docs...)}
	_, f.control = localdev(t, t.TempDir(), nil, "-redis", f.redis.URL(), "-apps", f.doc)
	var addresses []string
	for range 2 {
		p, n := f.startNode()
		f.programs, f.nodes, addresses = append(f.programs, p), append(f.nodes, n), append(addresses, n.addr)
	}
	f.balancer = startBalancer(t, addresses...)
	return f
}

func (f *fleet) startNode() (*program, *node) {
	return fanout(f.t, nil, "-redis", f.redis.URL(), "-apps", f.doc)
}

// restart replaces the nodes one after the other: the new one is there before
// the old one is told to go.
func (f *fleet) restart() {
	for i, old := range f.nodes {
		p, n := f.startNode()
		f.balancer.replace(old.addr, n.addr)
		f.programs[i].terminate()
		f.programs[i], f.nodes[i] = p, n
	}
}

// edit replaces the apps document, in one step, as an editor should.
func (f *fleet) edit(docs ...*appDoc) {
	if err := os.Rename(documentFile(f.t, docs...), f.doc); err != nil {
		f.t.Error(err)
	}
}

// settings are what the programs in npm/ get, as JSON on standard input.
func (f *fleet) settings(more map[string]any) map[string]any {
	settings := map[string]any{
		"nodes":    []string{"ws://" + f.nodes[0].addr, "ws://" + f.nodes[1].addr},
		"balancer": "ws://" + f.balancer.addr,
		"rest":     "http://" + f.control.addr,
	}
	for name, value := range more {
		settings[name] = value
	}
	return settings
}

// runNPM runs one of npm's programs, and wants it to succeed.
func runNPM(t *testing.T, limit time.Duration, settings any, program string, args ...string) (stdout string) {
	t.Helper()
	input, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, nodejstest.Path(t, 20, 0, npmFolder), append([]string{program}, args...)...)
	cmd.Dir = filepath.FromSlash(npmFolder)
	cmd.WaitDelay = 5 * time.Second
	var out, errors bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errors
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out.String(), errors.String())
	}
	return out.String()
}

// The client that is published for the hosted service, unchanged, in Node.js
// with ws. npm/client.mjs has the scenarios; it says what each one shows.
func TestPublishedClient(t *testing.T) {
	nodejstest.Path(t, 20, 0, npmFolder)
	all := newKey("npm", "devices/**", "fleets/**").only(everyAction...)
	few := newKey("npm-few", "devices/**").only("subscribe")
	public := &keyDoc{ID: "pk_live_npm", Patterns: []string{"public/**"}, Actions: everyAction}

	tight := newApp("app_npm_tight", newKey("npm-tight", "**"))
	tight.Plan.Connections, tight.Plan.Messages = 1, 3
	slow := newApp("app_npm_slow", newKey("npm-slow", "**"))
	slow.Limits.FramesPerSec, slow.Limits.FramesBurst = 1, 10
	suspended := newApp("app_npm_suspended", newKey("npm-suspended", "**"))
	suspended.Suspended = true

	leaked, kept := newKey("npm-leaked", "**"), newKey("npm-kept", "**")
	changingPublic := &keyDoc{ID: "pk_live_npm_changing", Patterns: []string{"public/**"}, Actions: everyAction}
	changing := newApp("app_npm_changing", leaked, kept, changingPublic)
	former := newKey("npm-secret", "**")
	formerSecret, nextSecret := former.credential(), former.ID+":"+secretMark+"-of-the-next-one-0123456789"
	secretApp := newApp("app_npm_secret", former)
	docs := []*appDoc{newApp("app_npm", all, few, public), tight, slow, suspended, changing, secretApp}

	f := startFleet(t, docs...)
	// What a scenario cannot do itself.
	orders := http.NewServeMux()
	orders.HandleFunc("POST /restart", func(http.ResponseWriter, *http.Request) { f.restart() })
	orders.HandleFunc("POST /rotate", func(http.ResponseWriter, *http.Request) {
		changing.Keys = []*keyDoc{kept, changingPublic}
		f.edit(docs...)
	})
	orders.HandleFunc("POST /hide", func(http.ResponseWriter, *http.Request) {
		changing.Keys = []*keyDoc{kept}
		f.edit(docs...)
	})
	orders.HandleFunc("POST /change-secret", func(http.ResponseWriter, *http.Request) {
		_, former.Secret, _ = strings.Cut(nextSecret, ":")
		f.edit(docs...)
	})
	orders.HandleFunc("POST /suspend", func(http.ResponseWriter, *http.Request) {
		changing.Suspended = true
		f.edit(docs...)
	})
	operator := httptest.NewServer(orders)
	defer operator.Close()

	keys := map[string]string{"all": all.credential(), "few": few.credential(), "public": public.ID,
		"tight": tight.Keys[0].credential(), "slow": slow.Keys[0].credential(), "suspended": suspended.Keys[0].credential(),
		"leaked": leaked.credential(), "kept": kept.credential(), "changingPublic": changingPublic.ID,
		"formerSecret": formerSecret, "nextSecret": nextSecret}
	scenarios := slices.Collect(strings.Lines(runNPM(t, patience, nil, "client.mjs", "--list")))
	if len(scenarios) == 0 {
		t.Fatal("client.mjs lists no scenario")
	}
	for _, scenario := range scenarios {
		scenario = strings.TrimSuffix(scenario, "\n")
		t.Run(scenario, func(t *testing.T) {
			settings := f.settings(map[string]any{"keys": keys, "operator": operator.URL})
			runNPM(t, 2*patience, settings, "client.mjs", scenario)
		})
	}
}
