// Package apitest is what the tests of the control plane share: an apps
// document with one key of each sort, a limiter that does as it is told, and a
// log that can be searched for what must not be in it.
package apitest

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
)

// The keys of the document.
const (
	KeyID     = "sk_live_full"
	Secret    = "5ec4e7000000000000000000000000000000000000000001"
	NarrowID  = "sk_live_narrow" // fewer actions, and patterns that cover little alone
	Narrow    = "5ec4e7000000000000000000000000000000000000000002"
	IdleID    = "sk_live_idle" // no patterns and no actions
	Idle      = "5ec4e7000000000000000000000000000000000000000004"
	PausedID  = "sk_live_paused" // of a suspended app
	Paused    = "5ec4e7000000000000000000000000000000000000000003"
	ViewerID  = "sk_live_viewer" // all actions, and a role that only reads
	Viewer    = "5ec4e7000000000000000000000000000000000000000005"
	PublicID  = "pk_live_public"
	SecretTip = "5ec4e7" // begins every secret above, for searching logs
)

const document = `{"apps":[
 {"id":"app_demo",
  "plan":{"name":"dev","maxConcurrentConnections":10,"maxMessagesPerPeriod":100,"overagesAllowed":false,"overagesEnabled":false},
  "limits":{"restPerSec":7,"restBurst":9},
  "history":[{"pattern":"devices/*/state","size":1,"ttlSec":3600},{"pattern":"devices/*/log","size":400,"ttlSec":3600}],
  "groups":[{"name":"ingest","patterns":["devices/*/events","fleets/*/events"],"maxBytes":1048576},{"name":"wide","patterns":["devices/x","public/**"]},
   {"name":"crm","patterns":["devices/*/alarms"],"sink":{"type":"webhook","url":"https://crm.example.com","secrets":["env:CRM"]}}],
  "keys":[
   {"id":"` + KeyID + `","secret":"` + Secret + `","channelPatterns":["devices/**","fleets/**"],"actions":["publish","subscribe","presence","send"]},
   {"id":"` + NarrowID + `","secret":"` + Narrow + `","channelPatterns":["a/*","a/*/**"],"actions":["subscribe"]},
   {"id":"` + IdleID + `","secret":"` + Idle + `","channelPatterns":[],"actions":[]},
   {"id":"` + ViewerID + `","secret":"` + Viewer + `","channelPatterns":["devices/**","fleets/**"],"actions":["publish","subscribe","presence","send"],"role":"viewer"},
   {"id":"` + PublicID + `","channelPatterns":["public/**"],"actions":["subscribe"]}]},
 {"id":"app_paused","suspended":true,
  "plan":{"name":"dev","maxConcurrentConnections":10,"maxMessagesPerPeriod":100,"overagesAllowed":false,"overagesEnabled":false},
  "keys":[{"id":"` + PausedID + `","secret":"` + Paused + `","channelPatterns":["**"],"actions":["publish"]}]}]}`

// Now is the time by the configured clock.
var Now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Store holds the document.
func Store(t testing.TB) *apps.Store {
	t.Helper()
	dir, err := apps.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return apps.NewStore(dir)
}

// Config is a configuration that lets everything pass, and its log.
func Config(t testing.TB) (api.Config, *Log) {
	t.Helper()
	log := new(Log)
	return api.Config{
		Apps:    Store(t),
		Limiter: new(Limiter),
		Log:     slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:     func() time.Time { return Now },
	}, log
}

// Log collects what is logged.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes one record.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is everything so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Limiter answers as set, with yes by default, and counts per key id. It is
// for one goroutine.
type Limiter struct {
	Refuse bool
	Wait   time.Duration
	Err    error
	Asked  map[string]int
}

// AllowREST is api.RateLimiter's.
func (l *Limiter) AllowREST(_ context.Context, key *apps.Key) (bool, time.Duration, error) {
	if l.Asked == nil {
		l.Asked = map[string]int{}
	}
	l.Asked[key.ID]++
	return !l.Refuse && l.Err == nil, l.Wait, l.Err
}

// Request makes a request with the full key's credential. target is taken as it
// is, escapes and all.
func Request(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+KeyID+":"+Secret)
	r.Header.Set("Content-Type", "application/json")
	return r
}

// Do has h serve r.
func Do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Want checks an answer's status and body, to the byte, and what is true of
// all answers: they are JSON, and no cache may keep them.
func Want(t testing.TB, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d", w.Code, status)
	}
	if got := w.Body.String(); got != body {
		t.Errorf("body\n %s\nwant\n %s", got, body)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
