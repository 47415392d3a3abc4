package dev

import (
	"strings"
	"testing"

	"fleetwire/fanout/node"
)

// The commands that fleetwire dev prints have no secret where they find it by themselves.
func TestGreetTool(t *testing.T) {
	for _, tt := range []struct {
		name, apps, base string
		want, not        string
	}{
		{"as it comes", "", "http://127.0.0.1:8080", "  fleetwire sub 'devices/**'\n", "export"},
		{"another port", "", "http://127.0.0.1:9000", "  export FLEETWIRE_URL=http://127.0.0.1:9000\n", "sk_live_1"},
		{"another document", "apps.json", "http://127.0.0.1:8080", "  export FLEETWIRE_URL=http://127.0.0.1:8080 FLEETWIRE_SECRET_KEY=sk_live_1\n", "curl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			greetTool(&b, node.Config{Apps: tt.apps}, tt.base, "sk_live_1")
			if got := b.String(); !strings.Contains(got, tt.want) || strings.Contains(got, tt.not) {
				t.Errorf("got %q", got)
			}
		})
	}
}
