package apps

import "testing"

func TestRoles(t *testing.T) {
	document := keyDocument(
		`{"id":"sk_viewer","secret":"`+longSecret+`","channelPatterns":[],"actions":["publish"],"role":"viewer"}`,
		`{"id":"sk_full","secret":"`+longSecret+`","channelPatterns":[],"actions":[],"role":"full"}`,
		`{"id":"sk_unset","secret":"`+longSecret+`","channelPatterns":[],"actions":[]}`,
		`{"id":"pk_1","channelPatterns":[],"actions":[]}`,
	)
	d, err := Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]struct {
		role  string
		signs bool
	}{"sk_viewer": {"viewer", false}, "sk_full": {"full", true}, "sk_unset": {"full", true}, "pk_1": {"full", false}} {
		key, _ := d.Key(id)
		if key.Role.String() != want.role || key.Signs() != want.signs {
			t.Errorf("%s: role %s, signs %v", id, key.Role, key.Signs())
		}
	}
	if key := d.FirstSecretKey(); key.ID != "sk_full" {
		t.Errorf("the first key that signs is %s", key.ID)
	}
	viewer, _ := d.Key("sk_viewer")
	full := *viewer
	full.Role = RoleFull
	if viewer.Equal(&full) {
		t.Error("a key with another role is equal")
	}
}
