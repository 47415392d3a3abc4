package contexts

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestSecretCommand(t *testing.T) {
	none := func(string) string { return "" }
	warn := func(text string) { t.Error(text) }
	good := &Context{Name: "a", SecretCommand: "echo sk_live_1_secret_2"}
	if got, err := good.Secret(t.Context(), none, warn); got != "sk_live_1_secret_2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	failing := &Context{Name: "a", SecretCommand: "exit 3"}
	if _, err := failing.Secret(t.Context(), none, warn); err == nil || !strings.Contains(err.Error(), "its command failed: exit status 3") {
		t.Errorf("%v", err)
	}
	// Ctrl-C, while the command waits for a person: what it started does not hold the program up.
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	waiting := &Context{Name: "a", SecretCommand: "sleep 600 | cat"}
	if _, err := waiting.Secret(ctx, none, warn); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestChooseReadsContextsOnlyIfNeeded(t *testing.T) {
	environment := map[string]string{"FLEETWIRE_SECRET_KEY": "sk_live_1_secret_2", "FLEETWIRE_URL": "https://fleet.example.com"}
	choice := Choice{
		Getenv: func(name string) string { return environment[name] },
		File:   func() (File, error) { return File{}, errors.New("there is no home folder") },
		Warn:   func(text string) { t.Error(text) },
	}
	got, err := Choose(t.Context(), choice)
	if want := (Service{"https://fleet.example.com", "sk_live_1_secret_2"}); got != want || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	choice.Name = "prod"
	if _, err := Choose(t.Context(), choice); err == nil || err.Error() != "there is no home folder" {
		t.Errorf("of a context: %v", err)
	}
}

func TestURLOfADeployment(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"https://fleet.example.com/base", ""},
		{"http://127.0.0.1:8080", ""},
		{"fleet.example.com", "is not the URL of a deployment"},
		{"ftp://fleet.example.com", "is not the URL of a deployment"},
		{"https://user:hunter2hunter2@fleet.example.com", "holds a user or a password"},
		{"https://user:hunter2hunter2 @fleet.example.com", "is not the URL of a deployment"},
	} {
		err := checkURL(c.url)
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.url, err, c.want)
		case err != nil && strings.Contains(err.Error(), "hunter2hunter2"):
			t.Errorf("%s: the error shows the password: %v", c.url, err)
		}
	}
}
