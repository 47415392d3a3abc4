package suite

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// secretMark is in all secrets, for the tests that look for one where none may be.
const secretMark = "secret-of-the-suite"

// document is the apps document: each scenario has an app of its own.
type document struct {
	path string

	mu   sync.Mutex
	apps map[string]*app
}

// app is a scenario's app.
type app struct {
	ID        string   `json:"id"`
	Suspended bool     `json:"suspended,omitempty"`
	GraceMs   int      `json:"graceMs"`
	Plan      object   `json:"plan"`
	Limits    object   `json:"limits"`
	History   []object `json:"history,omitempty"`
	Groups    []object `json:"groups,omitempty"`
	Keys      []*key   `json:"keys"`
}

type key struct {
	name string

	ID       string   `json:"id"`
	Secret   string   `json:"secret"`
	Patterns []string `json:"channelPatterns"`
	Actions  []string `json:"actions"`
}

func (k *key) credential() string { return k.ID + ":" + k.Secret }

// appSpec is what a scenario says of its app.
type appSpec struct {
	Connections int      // the plan's; 0: many
	Messages    int      // likewise
	Suspended   bool     // from the beginning
	History     []object // as in the document
	Groups      []object
	Keys        []string // names; none: "main"
}

func newDocument(t *testing.T, scenarios []*scenario) *document {
	t.Helper()
	d := &document{path: filepath.Join(t.TempDir(), "apps.json"), apps: map[string]*app{}}
	for _, s := range scenarios {
		d.apps[s.Name] = newApp(s)
	}
	if err := d.write(); err != nil {
		t.Fatal(err)
	}
	return d
}

func newApp(s *scenario) *app {
	many := func(n int) int {
		if n == 0 {
			return 1_000_000
		}
		return n
	}
	a := &app{
		ID: "app_" + s.Name, Suspended: s.App.Suspended, History: s.App.History, Groups: s.App.Groups,
		Plan: object{"name": "suite", "maxConcurrentConnections": many(s.App.Connections), "maxMessagesPerPeriod": many(s.App.Messages)},
		// All connections come from one address.
		Limits: object{"connectsPerAddressPerMin": 100_000},
	}
	names := s.App.Keys
	if len(names) == 0 {
		names = []string{"main"}
	}
	for _, name := range names {
		a.Keys = append(a.Keys, &key{
			name: name, ID: "sk_live_" + s.Name + "_" + name, Secret: secretMark + "-" + s.Name + "-" + name + "-0123456789abcdef",
			Patterns: []string{"devices/**", "fleets/**"}, Actions: []string{"publish", "subscribe", "presence", "send"},
		})
	}
	return a
}

// write replaces the file in one step, as an editor should.
func (d *document) write() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	apps := []*app{}
	for _, a := range d.apps {
		apps = append(apps, a)
	}
	slices.SortFunc(apps, func(a, b *app) int { return strings.Compare(a.ID, b.ID) })
	text, err := json.Marshal(object{"apps": apps})
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(d.path+".new", d.path)
}

// key finds a key of a scenario's app by its name, "" for the first one that is there.
func (d *document) key(scenario, name string) (*key, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.apps[scenario].Keys {
		if name == "" || k.name == name {
			return k, nil
		}
	}
	return nil, fmt.Errorf("the app of %s has no key %q", scenario, name)
}

// change changes a scenario's app; reload tells the nodes.
func (d *document) change(scenario string, how func(*app)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	how(d.apps[scenario])
}

// tokenSpec says which token a client is given when it asks.
type tokenSpec struct {
	Peer         string
	Channels     []string
	Permissions  []string
	TTLSec       int    // 0: an hour
	PeerMetadata object // as in the claim
	Key          string // the name of the key that signs; "": the first. "none" is one that no app has
}

// sign makes a token.
func (d *document) sign(scenario string, spec tokenSpec) (string, error) {
	k := &key{ID: "sk_live_none", Secret: secretMark + "-none"}
	if spec.Key != "none" {
		var err error
		if k, err = d.key(scenario, spec.Key); err != nil {
			return "", err
		}
	}
	now, ttl := time.Now().Unix(), int64(spec.TTLSec)
	if ttl == 0 {
		ttl = 3600
	}
	claims := jwt.MapClaims{"sub": spec.Peer, "iat": now, "exp": now + ttl}
	if spec.Channels != nil {
		claims["channels"] = spec.Channels
	}
	if spec.Permissions != nil {
		claims["permissions"] = spec.Permissions
	}
	if spec.PeerMetadata != nil {
		claims["peerMetadata"] = spec.PeerMetadata
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	token.Header["kid"] = k.ID
	return token.SignedString([]byte(k.Secret))
}

// tokenServer gives clients their tokens, each under a path of its own, and counts how
// often it was asked.
type tokenServer struct {
	*httptest.Server
	apps *document

	mu      sync.Mutex
	specs   map[string]tokenSpec // by path, /SCENARIO/CLIENT
	asked   map[string]int
	changed chan struct{} // closed and replaced with each request
}

func startTokenServer(t *testing.T, apps *document) *tokenServer {
	t.Helper()
	s := &tokenServer{apps: apps, specs: map[string]tokenSpec{}, asked: map[string]int{}, changed: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// give has the server give a client other tokens from now on.
func (s *tokenServer) give(path string, spec tokenSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.specs[path] = spec
}

func (s *tokenServer) times(path string) (int, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path], s.changed
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	spec, ok := s.specs[r.URL.Path]
	s.asked[r.URL.Path]++
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	scenario, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	token, err := s.apps.sign(scenario, spec)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object{"token": token})
}
