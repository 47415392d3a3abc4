package auth

import (
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

const rebindDocument = `{"apps":[{"id":"app_a","suspended":false,
 "plan":{"name":"p","maxConcurrentConnections":5,"maxMessagesPerPeriod":5,"overagesAllowed":true,"overagesEnabled":false},
 "limits":{"restPerSec":7},
 "keys":[{"id":"sk_a","secret":"` + secretA + `","channelPatterns":["devices/**"],"actions":["publish","subscribe"]},
         {"id":"sk_other","secret":"` + secretB + `","channelPatterns":["**"],"actions":[]},
         {"id":"pk_a","channelPatterns":["public/**"],"actions":["subscribe"]}]},
 {"id":"app_b","keys":[{"id":"sk_b","secret":"` + secretB + `","channelPatterns":["**"],"actions":[]}]}]}`

func parse(t testing.TB, document string) *apps.Directory {
	t.Helper()
	dir, err := apps.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// edit makes replacements, and wants each of them to find its place once.
func edit(t testing.TB, document string, oldnew ...string) string {
	t.Helper()
	for i := 0; i < len(oldnew); i += 2 {
		if strings.Count(document, oldnew[i]) != 1 {
			t.Fatalf("%q is %d times in the document", oldnew[i], strings.Count(document, oldnew[i]))
		}
		document = strings.Replace(document, oldnew[i], oldnew[i+1], 1)
	}
	return document
}

func TestRebindRefuses(t *testing.T) {
	const keyA = `{"id":"sk_a","secret":"` + secretA + `","channelPatterns":["devices/**"],"actions":["publish","subscribe"]},`
	const keyB = `{"id":"sk_b",`
	tests := []struct {
		name, key string
		edit      []string
		code      protocol.CloseCode
		reason    string
	}{
		{"the key is gone", "sk_a", []string{keyA, ""}, 4002, "revoked: key sk_a"},
		{"a publishable key is gone", "pk_a", []string{"pk_a", "pk_new"}, 4001, "revoked: key pk_a"},
		{"its secret is another", "sk_a", []string{secretA, secretA + "2"}, 4002, "revoked: the former secret of key sk_a"},
		{"it is a viewer's now", "sk_a", []string{`"actions":["publish","subscribe"]`, `"actions":["publish","subscribe"],"role":"viewer"`}, 4002, "revoked: key sk_a"},
		{"another app has it", "sk_a", []string{keyA, "", keyB, keyA + keyB}, 4002, "revoked: key sk_a"},
		{"the app is gone", "sk_a", []string{`"app_a"`, `"app_new"`}, 4001, "the app app_a does not exist any more"},
		{"app and key are gone", "sk_a", []string{`"app_a"`, `"app_new"`, keyA, ""}, 4001, "the app app_a does not exist any more"},
		{"the app is suspended", "sk_a", []string{`"suspended":false`, `"suspended":true`}, 4012, ""},
		{"the app is suspended, for a publishable key", "pk_a", []string{`"suspended":false`, `"suspended":true`}, 4012, ""},
		// A new token would be refused: nobody is sent to get one.
		{"suspended and revoked", "sk_a", []string{`"suspended":false`, `"suspended":true`, keyA, ""}, 4012, ""},
		{"suspended and a publishable key is gone", "pk_a", []string{`"suspended":false`, `"suspended":true`, "pk_a", "pk_new"}, 4012, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, _ := parse(t, rebindDocument).Key(tt.key)
			g := &Grant{App: key.App, Key: key, Peer: "p", Actions: key.Actions}
			got, refusal := g.Rebind(parse(t, edit(t, rebindDocument, tt.edit...)))
			if got != nil || refusal == nil || refusal.Code != tt.code || refusal.Reason != tt.reason {
				t.Errorf("got %v, %v; want close %d: %s", got, refusal, tt.code, tt.reason)
			}
		})
	}
}

func TestRebindKeepsWhatDidNotChange(t *testing.T) {
	key, _ := parse(t, rebindDocument).Key("sk_a")
	g := &Grant{App: key.App, Key: key, Peer: "p", Actions: key.Actions}
	for name, document := range map[string]string{
		"the same document":      rebindDocument,
		"written in another way": strings.ReplaceAll(rebindDocument, ",", ",\n\t"),
		"another key is revoked": edit(t, rebindDocument, `"sk_other"`, `"sk_new"`),
		"another app is changed": edit(t, rebindDocument, `"app_b",`, `"app_b","suspended":true,`),
	} {
		if got, refusal := g.Rebind(parse(t, document)); got != g || refusal != nil {
			t.Errorf("%s: got %p, %v; want the same grant", name, got, refusal)
		}
	}
}

func TestRebindAppliesTheNewDocument(t *testing.T) {
	tests := []struct {
		name        string
		claims      string
		edit        []string
		may, mayNot []string
		actions     apps.Actions
	}{
		{"the key is narrowed", "", []string{`"devices/**"`, `"devices/a/*"`},
			[]string{"devices/a/x"}, []string{"devices/b", "devices/a"}, apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe)},
		{"the key is widened", "", []string{`"devices/**"`, `"devices/**","fleets/*"`},
			[]string{"devices/b", "fleets/1"}, []string{"public/a"}, apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe)},
		{"widened, but the token claims less", `,"channels":["devices/a"]`, []string{`"devices/**"`, `"**"`},
			[]string{"devices/a"}, []string{"devices/b"}, apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe)},
		{"narrowed to less than the token claims", `,"channels":["devices/**"]`, []string{`"devices/**"`, `"devices/a"`},
			[]string{"devices/a"}, []string{"devices/b"}, apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe)},
		{"an action is taken", "", []string{`["publish","subscribe"]`, `["publish"]`},
			[]string{"devices/a"}, nil, apps.ActionsOf(apps.ActionPublish)},
		{"an action is given", "", []string{`["publish","subscribe"]`, `["publish","subscribe","send"]`},
			[]string{"devices/a"}, nil, apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe, apps.ActionSend)},
		{"one is given that the token had claimed in vain", `,"permissions":["send","subscribe"]`, []string{`["publish","subscribe"]`, `["publish","subscribe","send"]`},
			[]string{"devices/a"}, nil, apps.ActionsOf(apps.ActionSubscribe, apps.ActionSend)},
		{"one is given that the token does not claim", `,"permissions":["subscribe"]`, []string{`["publish","subscribe"]`, `["publish","subscribe","send"]`},
			[]string{"devices/a"}, nil, apps.ActionsOf(apps.ActionSubscribe)},
		{"the plan is another", "", []string{`"maxMessagesPerPeriod":5`, `"maxMessagesPerPeriod":6`},
			[]string{"devices/a"}, nil, apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe)},
		{"a switch of the plan", "", []string{`"overagesEnabled":false`, `"overagesEnabled":true`},
			[]string{"devices/a"}, nil, apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe)},
		{"the limits are others", "", []string{`"restPerSec":7`, `"restPerSec":8`},
			[]string{"devices/a"}, nil, apps.ActionsOf(apps.ActionPublish, apps.ActionSubscribe)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := parse(t, rebindDocument)
			g, refusal := VerifyToken(before, signed(`,"peerMetadata":{"a":1}`+tt.claims), now)
			if refusal != nil {
				t.Fatal(refusal)
			}
			was := *g
			after := parse(t, edit(t, rebindDocument, tt.edit...))
			got, refusal := g.Rebind(after)
			if refusal != nil {
				t.Fatal(refusal)
			}
			key, _ := after.Key("sk_a")
			if got == g || got.Key != key || got.App != key.App {
				t.Fatal("the grant is not bound to the new document")
			}
			if got.Actions != tt.actions {
				t.Errorf("actions %v, want %v", got.Actions.List(), tt.actions.List())
			}
			for _, name := range tt.may {
				if !touches(got, name) {
					t.Errorf("it may not touch %s", name)
				}
			}
			for _, name := range tt.mayNot {
				if touches(got, name) {
					t.Errorf("it may touch %s", name)
				}
			}
			if got.Peer != "device-1" || !got.ExpiresAt.Equal(was.ExpiresAt) || string(got.PeerMetadata) != `{"a":1}` {
				t.Errorf("what the token says is lost: %+v", got)
			}
			if g.Key != was.Key || g.Actions != was.Actions {
				t.Error("the old grant was changed under whoever uses it")
			}
			// And back again.
			back, refusal := got.Rebind(before)
			if refusal != nil || back.Actions != was.Actions || back.Key != was.Key {
				t.Errorf("undone: %+v, %v", back, refusal)
			}
		})
	}
}
