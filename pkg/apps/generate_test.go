package apps

import (
	"bytes"
	"fmt"
	"regexp"
	"testing"
)

func TestGenerateKeyPair(t *testing.T) {
	id, secret := GenerateKeyPair()
	if !regexp.MustCompile(`^sk_live_[0-9a-f]{24}$`).MatchString(id) {
		t.Errorf("id = %q", id)
	}
	if !regexp.MustCompile(`^[0-9a-f]{48}$`).MatchString(secret) {
		t.Error("the secret is not 48 hex digits")
	}
	otherID, otherSecret := GenerateKeyPair()
	if id == otherID || secret == otherSecret {
		t.Error("two pairs share a part")
	}
}

func TestGeneratePublishableID(t *testing.T) {
	id := GeneratePublishableID()
	if !regexp.MustCompile(`^pk_live_[0-9a-f]{24}$`).MatchString(id) || id == GeneratePublishableID() {
		t.Errorf("id = %q", id)
	}
}

func TestNewLocalDocument(t *testing.T) {
	doc := NewLocalDocument()
	dir, err := Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	if w := dir.Warnings(); len(w) != 0 {
		t.Errorf("Warnings() = %q", w)
	}
	app, ok := dir.App("app_local")
	if !ok || len(dir.Apps()) != 1 || app.Suspended || len(app.Keys) != 2 {
		t.Fatalf("app = %+v", app)
	}
	if want := (Plan{"dev", 1000, 5_000_000, false, false}); app.Plan != want {
		t.Errorf("plan = %+v", app.Plan)
	}
	if want := (Limits{100, 200, 100_000, 1000, 2000, 0}); app.Limits != want {
		t.Errorf("limits = %+v", app.Limits)
	}
	for i, want := range []struct {
		publishable bool
		patterns    string
		actions     Actions
	}{{false, "[** _system/connectivity/**]", AllActions}, {true, "[public/**]", ActionsOf(ActionSubscribe)}} {
		key := app.Keys[i]
		if key.Publishable() != want.publishable || fmt.Sprint(key.Patterns) != want.patterns || key.Actions != want.actions {
			t.Errorf("keys[%d] = %v, %v, %v", i, key, key.Patterns, key.Actions.List())
		}
	}
	if !bytes.Contains(doc, []byte("\n  \"apps\"")) || !bytes.HasSuffix(doc, []byte("}\n")) {
		t.Error("the document is not indented for people")
	}
	if bytes.Equal(doc, NewLocalDocument()) {
		t.Error("two documents have the same keys")
	}
}
