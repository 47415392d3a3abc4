package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"fleetwire/pkg/apps"
)

// The apps document (protocol §7), for writing.
type (
	appDoc struct {
		ID        string     `json:"id"`
		Suspended bool       `json:"suspended"`
		Plan      planDoc    `json:"plan"`
		Limits    limitsDoc  `json:"limits"`
		GraceMs   int        `json:"graceMs,omitempty"` // 0: the usual
		Keys      []*keyDoc  `json:"keys"`
		History   []ruleDoc  `json:"history,omitempty"`
		Groups    []groupDoc `json:"groups,omitempty"`
	}
	groupDoc struct {
		Name       string         `json:"name"`
		Patterns   []string       `json:"patterns"`
		MaxBytes   int            `json:"maxBytes"`
		MaxDeliver int            `json:"maxDeliver,omitempty"` // 0: the usual
		Overflow   string         `json:"overflow,omitempty"`   // "": the usual
		Sink       map[string]any `json:"sink,omitempty"`
	}
	ruleDoc struct {
		Pattern string `json:"pattern"`
		Size    int    `json:"size"`
		TTLSec  int    `json:"ttlSec"`
	}
	planDoc struct {
		Name        string `json:"name"`
		Connections int    `json:"maxConcurrentConnections"`
		Messages    int    `json:"maxMessagesPerPeriod"`
		Allowed     bool   `json:"overagesAllowed"`
		Enabled     bool   `json:"overagesEnabled"`
	}
	limitsDoc struct {
		FramesPerSec  int `json:"connectionMessagesPerSec"`
		FramesBurst   int `json:"connectionMessagesBurst"`
		ConnectsAMin  int `json:"connectsPerAddressPerMin"`
		RequestsASec  int `json:"restPerSec"`
		RequestsBurst int `json:"restBurst"`
	}
	keyDoc struct {
		ID       string   `json:"id"`
		Secret   string   `json:"secret,omitempty"`
		Patterns []string `json:"channelPatterns"`
		Actions  []string `json:"actions"`
		Origins  []string `json:"allowedOrigins,omitempty"`
		Role     string   `json:"role,omitempty"`
	}
)

// secretMark is in every secret of these tests, so that logs can be searched
// for them.
const secretMark = "5ec4e7"

var everyAction = []string{"publish", "subscribe", "presence", "send"}

// newApp is an app whose plan and limits no test gets near by accident.
func newApp(id string, keys ...*keyDoc) *appDoc {
	return &appDoc{
		ID: id, Keys: keys,
		Plan:   planDoc{Name: "test", Connections: 10_000, Messages: 1_000_000_000},
		Limits: limitsDoc{1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000},
	}
}

// remembering is an app whose channels log/** remember so many messages for an hour.
func remembering(id string, size int, keys ...*keyDoc) *appDoc {
	app := newApp(id, keys...)
	app.History = []ruleDoc{{"log/**", size, 3600}}
	return app
}

// newKey is a secret key for the patterns that may do everything but watch who is
// there: presence frames come unasked, between what a test waits for.
func newKey(name string, patterns ...string) *keyDoc {
	return &keyDoc{ID: "sk_live_" + name, Secret: secretMark + "-0123456789abcdef-of-" + name, Patterns: patterns, Actions: []string{"publish", "subscribe", "send"}}
}

// only is the same key with these actions.
func (k *keyDoc) only(actions ...string) *keyDoc {
	k.Actions = append([]string{}, actions...)
	return k
}

// credential is what the key's owner sends to REST.
func (k *keyDoc) credential() string { return k.ID + ":" + k.Secret }

func directory(t testing.TB, list ...*appDoc) *apps.Directory {
	t.Helper()
	dir, err := apps.Parse(document(t, list...))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func document(t testing.TB, list ...*appDoc) []byte {
	t.Helper()
	doc, err := json.Marshal(map[string]any{"apps": list})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// documentFile is for programs, whose arguments anybody on the machine can see.
func documentFile(t testing.TB, list ...*appDoc) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "apps.json")
	if err := os.WriteFile(path, document(t, list...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
