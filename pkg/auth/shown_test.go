package auth

import (
	"testing"

	"fleetwire/pkg/apps"
)

// HOSTILE: a viewer, or a key for few channels, reads the id of a publishable key, and connects with
// it to publish.
func TestShownID(t *testing.T) {
	dir, err := apps.Parse([]byte(`{"apps":[{"id":"app_a","keys":[
		{"id":"sk_full","secret":"` + secretA + `","channelPatterns":["public/**","devices/**"],"actions":["publish","subscribe"]},
		{"id":"sk_viewer","secret":"` + secretA + `","channelPatterns":["**"],"actions":["publish","subscribe"],"role":"viewer"},
		{"id":"sk_narrow","secret":"` + secretA + `","channelPatterns":["public/a/*"],"actions":["publish","subscribe"]},
		{"id":"sk_hears","secret":"` + secretA + `","channelPatterns":["**"],"actions":["subscribe"]},
		{"id":"pk_live_0123456789abcdef","channelPatterns":["public/*","devices/a"],"actions":["publish"]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	key := func(id string) *apps.Key {
		k, _ := dir.Key(id)
		return k
	}
	const page = "pk_live_0123456789abcdef"
	for to, want := range map[string]string{"sk_full": page, "sk_viewer": "pk_live_…", "sk_narrow": "pk_live_…", "sk_hears": "pk_live_…"} {
		if got := ShownID(key(page), key(to)); got != want {
			t.Errorf("to %s it is %s, want %s", to, got, want)
		}
		if got := ShownID(key("sk_full"), key(to)); got != "sk_full" {
			t.Errorf("to %s the id of a secret key is %s", to, got)
		}
	}
}
