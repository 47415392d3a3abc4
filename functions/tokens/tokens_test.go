package tokens_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/functions/internal/apitest"
	"fleetwire/functions/tokens"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

const path = "/v1/tokens"

// mint has the handler mint a token, and verifies it as a node would.
func mint(t *testing.T, body string) (*auth.Grant, int64) {
	t.Helper()
	config, log := apitest.Config(t)
	return mintBy(t, config, log, apitest.KeyID+":"+apitest.Secret, body)
}

func mintBy(t *testing.T, config api.Config, log *apitest.Log, credential, body string) (*auth.Grant, int64) {
	t.Helper()
	r := apitest.Request("POST", path, body)
	r.Header.Set("Authorization", "Bearer "+credential)
	w := apitest.Do(tokens.New(config), r)
	var got struct {
		Token     string
		ExpiresAt int64
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	apitest.Want(t, w, 200, fmt.Sprintf(`{"token":"%s","expiresAt":%d}`, got.Token, got.ExpiresAt))
	if log.String() != "" {
		t.Errorf("logged: %s", log)
	}
	grant, refused := auth.VerifyToken(config.Apps.Current(), got.Token, apitest.Now)
	if refused != nil {
		t.Fatalf("a node refuses the token: %v", refused)
	}
	if grant.ExpiresAt.Unix() != got.ExpiresAt {
		t.Errorf("expiresAt is %d, the token's exp %d", got.ExpiresAt, grant.ExpiresAt.Unix())
	}
	return grant, got.ExpiresAt
}

func patterns(g *auth.Grant) string {
	texts := []string{}
	for _, p := range g.Patterns {
		texts = append(texts, p.String())
	}
	return fmt.Sprintf("%q", texts)
}

func TestMintedTokens(t *testing.T) {
	all := apps.AllActions
	tests := []struct {
		name     string
		body     string
		peer     string
		channels string // "" the key's own
		actions  apps.Actions
		ttl      time.Duration
		metadata string
		peerMeta string
	}{
		{name: "peerId alone", body: `{"peerId":"device-camera-001"}`, peer: "device-camera-001", actions: all, ttl: time.Hour},
		{
			name: "everything",
			body: `{"peerId":"a","channels":["devices/a/**","fleets/f1/commands"],"permissions":["subscribe","publish"],"expiresInSec":60,
				"metadata":{ "k" : [1.0, "<&>"] },"peerMetadata":{"name":"Ä\u0041"}}`,
			peer: "a", channels: `["devices/a/**" "fleets/f1/commands"]`,
			actions: apps.ActionsOf(apps.ActionSubscribe, apps.ActionPublish), ttl: time.Minute,
			metadata: `{"k":[1.0,"<&>"]}`, peerMeta: `{"name":"Ä\u0041"}`,
		},
		{name: "the key's own patterns", body: `{"peerId":"a","channels":["devices/**","fleets/**"]}`, peer: "a", channels: `["devices/**" "fleets/**"]`, actions: all, ttl: time.Hour},
		{name: "no channels and no permissions", body: `{"peerId":"a","channels":[],"permissions":[]}`, peer: "a", channels: `[]`, ttl: time.Hour},
		{name: "permission twice", body: `{"peerId":"a","permissions":["send","send"]}`, peer: "a", actions: apps.ActionsOf(apps.ActionSend), ttl: time.Hour},
		{name: "shortest", body: `{"peerId":"a","expiresInSec":1}`, peer: "a", actions: all, ttl: time.Second},
		{name: "longest", body: `{"peerId":"a","expiresInSec":86400}`, peer: "a", actions: all, ttl: 24 * time.Hour},
		{name: "null metadata", body: `{"peerId":"a","metadata":null,"peerMetadata":null}`, peer: "a", actions: all, ttl: time.Hour},
		{name: "empty metadata", body: `{"peerId":"a","metadata":{},"peerMetadata":{}}`, peer: "a", actions: all, ttl: time.Hour, metadata: `{}`, peerMeta: `{}`},
		{name: "longest peerId", body: `{"peerId":"` + strings.Repeat("~", 128) + `"}`, peer: strings.Repeat("~", 128), actions: all, ttl: time.Hour},
		{name: "peerId of awkward characters", body: `{"peerId":" <\"\\&> "}`, peer: ` <"\&> `, actions: all, ttl: time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, expiresAt := mint(t, tt.body)
			if g.Peer != tt.peer {
				t.Errorf("peer %q, want %q", g.Peer, tt.peer)
			}
			if own := g.Patterns == nil; own != (tt.channels == "") || !own && patterns(g) != tt.channels {
				t.Errorf("channels %s, want %q", patterns(g), tt.channels)
			}
			if g.Actions != tt.actions {
				t.Errorf("actions %v, want %v", g.Actions.List(), tt.actions.List())
			}
			if want := apitest.Now.Add(tt.ttl).Unix(); expiresAt != want {
				t.Errorf("expiresAt %d, want %d", expiresAt, want)
			}
			if string(g.Metadata) != tt.metadata || string(g.PeerMetadata) != tt.peerMeta {
				t.Errorf("metadata %s, peerMetadata %s; want %s, %s", g.Metadata, g.PeerMetadata, tt.metadata, tt.peerMeta)
			}
		})
	}
}

// object is a JSON object of exactly size bytes, filled with fill.
func object(size int, fill string) string {
	const frame = `{"k":""}`
	n := size - len(frame)
	return `{"k":"` + strings.Repeat(fill, n/len(fill)) + strings.Repeat("x", n%len(fill)) + `"}`
}

// The bounds are of the object as it was sent, less white space. Were it counted or carried in another
// spelling (`<` as \u003c is six times as long), a token could be minted that no node takes.
func TestMetadataAtItsBoundsIsTakenByNodes(t *testing.T) {
	for _, fill := range []string{"x", "<", "é", `\u0041`, `\"`, "\u2028"} {
		metadata := object(protocol.MaxMetadataBytes, fill)
		if g, _ := mint(t, `{"peerId":"a","metadata":`+strings.Replace(metadata, ":", " :\n", 1)+`}`); string(g.Metadata) != metadata {
			t.Errorf("metadata filled with %s comes back changed, %d bytes long", fill, len(g.Metadata))
		}
		metadata = object(protocol.MaxPeerMetadataBytes, fill)
		if g, _ := mint(t, `{"peerId":"a","peerMetadata":`+strings.Replace(metadata, ":", " :\n", 1)+`}`); string(g.PeerMetadata) != metadata {
			t.Errorf("peerMetadata filled with %s comes back changed, %d bytes long", fill, len(g.PeerMetadata))
		}
	}
}

func TestMostChannelsAndPermissions(t *testing.T) {
	g, _ := mint(t, `{"peerId":"a","channels":[`+strings.Repeat(`"devices/a",`, 99)+`"devices/b"],"permissions":[`+strings.Repeat(`"send",`, 15)+`"publish"]}`)
	if len(g.Patterns) != 100 || g.Actions != apps.ActionsOf(apps.ActionSend, apps.ActionPublish) {
		t.Errorf("%d channels and %v, want 100 and send and publish", len(g.Patterns), g.Actions.List())
	}
}

// A key's token holds for the key's actions even when the body names none.
func TestNarrowKeyMintsNarrowTokens(t *testing.T) {
	config, log := apitest.Config(t)
	g, _ := mintBy(t, config, log, apitest.NarrowID+"_secret_"+apitest.Narrow, `{"peerId":"a"}`)
	if g.Actions != apps.ActionsOf(apps.ActionSubscribe) || g.Check(apps.ActionSubscribe, "devices/x") == nil || g.Check(apps.ActionSubscribe, "a/x") != nil {
		t.Errorf("the token may do %v, devices/x %v, a/x %v", g.Actions.List(), g.Check(apps.ActionSubscribe, "devices/x") == nil, g.Check(apps.ActionSubscribe, "a/x") == nil)
	}
}

func TestRefusedBodies(t *testing.T) {
	const strange = "; it must be an array of strings; leave it out to use the key's own"
	const seconds = "; it must be a whole number of seconds from 1 to 86400, in plain digits"
	full, narrow := apitest.KeyID+":"+apitest.Secret, apitest.NarrowID+":"+apitest.Narrow
	tests := []struct {
		name       string
		credential string // "" full
		body       string
		status     int
		code       protocol.Code
		message    string // how it begins
	}{
		{"not an object", "", `[]`, 400, "invalid_request", "the body must be a JSON object with the fields peerId, channels, permissions, expiresInSec, metadata, peerMetadata: "},
		{"no peerId", "", `{}`, 400, "invalid_request", "peerId is missing; it must be a string, the id of the peer that the token is for"},
		{"null peerId", "", `{"peerId":null}`, 400, "invalid_request", "peerId is null; it must be a string"},
		{"number as peerId", "", `{"peerId":7}`, 400, "invalid_request", "peerId is a number; it must be a string"},
		{"empty peerId", "", `{"peerId":""}`, 400, "invalid_peer_id", `peerId "" will not do; it must be 1–128 printable ASCII characters`},
		{"long peerId", "", `{"peerId":"` + strings.Repeat("p", 129) + `"}`, 400, "invalid_peer_id", `peerId "` + strings.Repeat("p", 80) + `…" will not do`},
		{"peerId with a tab", "", `{"peerId":"a\tb"}`, 400, "invalid_peer_id", `peerId "a\tb" will not do`},
		{"peerId outside ASCII", "", `{"peerId":"kühlung"}`, 400, "invalid_peer_id", `peerId "kühlung" will not do`},

		{"channels for the singular", "", `{"peerId":"a","channel":["devices/a"]}`, 400, "invalid_request", `there is no field "channel"; the fields are peerId, channels, `},
		{"null channels", "", `{"peerId":"a","channels":null}`, 400, "invalid_request", "channels is null" + strange},
		{"string as channels", "", `{"peerId":"a","channels":"devices/**"}`, 400, "invalid_request", "channels is a string" + strange},
		{"number in channels", "", `{"peerId":"a","channels":["devices/a",1]}`, 400, "invalid_request", "channels[1] is a number; it must be a string"},
		{"101 channels", "", `{"peerId":"a","channels":[` + strings.Repeat(`"devices/a",`, 100) + `"devices/a"]}`, 400, "invalid_request", "channels has 101 entries; at most 100 are allowed"},
		{"half a character in peerId", "", `{"peerId":"a\ud800"}`, 400, "invalid_peer_id", "peerId has half a character in it "},
		{"a peerId that only the service has", "", `{"peerId":"server"}`, 400, "invalid_peer_id", `peerId "server" is reserved for the service`},
		{"half a character in a channel", "", `{"peerId":"a","channels":["devices/a","devices/\udc00"]}`, 400, "invalid_channel", "channels[1] has half a character in it "},
		{"half a character in permissions", "", `{"peerId":"a","permissions":["send\ud800"]}`, 400, "invalid_request", "permissions[0] has half a character in it "},
		{"17 wildcards in a channel", "", `{"peerId":"a","channels":["` + strings.Repeat("*/", 17) + `"]}`, 400, "invalid_channel", "channels[0]: pattern has 17 wildcards; at most 16 are allowed"},
		{"metadata of 17 levels", "", `{"peerId":"a","metadata":{"k":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}}`, 400, "invalid_request", "metadata is nested too deep; at most 16 levels are allowed"},
		{"peerMetadata of 17 levels", "", `{"peerId":"a","peerMetadata":{"k":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}}`, 400, "invalid_request", "peerMetadata is nested too deep; at most 16 levels are allowed"},
		{"empty channel", "", `{"peerId":"a","channels":["devices/a",""]}`, 400, "invalid_channel", "channels[1]: "},
		{"channel of 257 bytes", "", `{"peerId":"a","channels":["` + strings.Repeat("c", 257) + `"]}`, 400, "invalid_channel", "channels[0]: "},
		{"control character in a channel", "", `{"peerId":"a","channels":["devices/\u0007"]}`, 400, "invalid_channel", "channels[0]: "},
		{"folding level in a channel", "", `{"peerId":"a","channels":["devices/../x"]}`, 400, "invalid_channel", "channels[0]: "},
		{"reserved channel", "", `{"peerId":"a","channels":["_system/x"]}`, 400, "channel_reserved", `channels[0]: "_system/x" begins with a reserved prefix`},
		{"reserved pattern", "", `{"peerId":"a","channels":["_metered/**"]}`, 400, "channel_reserved", `channels[0]: "_metered/**" begins with`},
		{"pattern wider than the key's", "", `{"peerId":"a","channels":["devices/a","**"]}`, 403, "channel_not_authorized", `channels[1]: the key does not cover "**"`},
		{"channel beside the key's", "", `{"peerId":"a","channels":["public/a"]}`, 403, "channel_not_authorized", `channels[0]: the key does not cover "public/a"`},
		{"pattern that two of the key's cover together", narrow, `{"peerId":"a","channels":["a/**"]}`, 403, "channel_not_authorized", `channels[0]: the key does not cover "a/**"`},

		{"null permissions", "", `{"peerId":"a","permissions":null}`, 400, "invalid_request", "permissions is null" + strange},
		{"string as permissions", "", `{"peerId":"a","permissions":"publish"}`, 400, "invalid_request", "permissions is a string" + strange},
		{"object in permissions", "", `{"peerId":"a","permissions":[{}]}`, 400, "invalid_request", "permissions[0] is an object; it must be a string"},
		{"17 permissions", "", `{"peerId":"a","permissions":[` + strings.Repeat(`"send",`, 16) + `"send"]}`, 400, "invalid_request", "permissions has 17 entries; at most 16 are allowed"},
		{"permission that the key lacks", narrow, `{"peerId":"a","permissions":["subscribe","publish"]}`, 403, "action_not_permitted", `permissions[1]: "publish" is not an action of this key, which has: subscribe`},
		{"permission of a key without any", apitest.IdleID + ":" + apitest.Idle, `{"peerId":"a","permissions":["send"]}`, 403, "action_not_permitted", `permissions[0]: "send" is not an action of this key, which has: none`},
		{"unknown permission", "", `{"peerId":"a","permissions":["admin"]}`, 403, "action_not_permitted", `permissions[0]: "admin" is not an action of this key, which has: publish, subscribe, presence, send`},
		{"permission in another case", "", `{"peerId":"a","permissions":["Publish"]}`, 403, "action_not_permitted", `permissions[0]: "Publish" is not`},
		{"long unknown permission", "", `{"peerId":"a","permissions":["` + strings.Repeat("p", 9999) + `"]}`, 403, "action_not_permitted", `permissions[0]: "` + strings.Repeat("p", 80) + `…" is not`},

		{"zero seconds", "", `{"peerId":"a","expiresInSec":0}`, 400, "invalid_request", "expiresInSec is 0" + seconds},
		{"a day and a second", "", `{"peerId":"a","expiresInSec":86401}`, 400, "invalid_request", "expiresInSec is 86401" + seconds},
		{"seconds as a fraction", "", `{"peerId":"a","expiresInSec":1.0}`, 400, "invalid_request", "expiresInSec is 1.0" + seconds},
		{"seconds with an exponent", "", `{"peerId":"a","expiresInSec":36e2}`, 400, "invalid_request", "expiresInSec is 36e2" + seconds},
		{"seconds as a string", "", `{"peerId":"a","expiresInSec":"3600"}`, 400, "invalid_request", "expiresInSec is a string" + seconds},
		{"null seconds", "", `{"peerId":"a","expiresInSec":null}`, 400, "invalid_request", "expiresInSec is null" + seconds},

		{"array as metadata", "", `{"peerId":"a","metadata":[]}`, 400, "invalid_request", "metadata must be a JSON object, got an array"},
		{"string as peerMetadata", "", `{"peerId":"a","peerMetadata":"{}"}`, 400, "invalid_request", "peerMetadata must be a JSON object, got a string"},
		{"metadata over its bound", "", `{"peerId":"a","metadata":` + object(8193, "x") + `}`, 400, "invalid_request", "metadata is 8193 bytes long as compact JSON; at most 8192 are allowed"},
		{"peerMetadata over its bound", "", `{"peerId":"a","peerMetadata":` + object(4097, "x") + `}`, 400, "invalid_request", "peerMetadata is 4097 bytes long as compact JSON; at most 4096 are allowed"},

		{"shape before names", "", `{"peerId":"","channels":[""],"peerMetadata":[]}`, 400, "invalid_request", "peerMetadata must be a JSON object"},
		{"names before reserved", "", `{"peerId":"a","channels":["_system/a",""]}`, 400, "invalid_channel", "channels[1]: "},
		{"reserved before action", "", `{"peerId":"a","channels":["_system/a"],"permissions":["admin"]}`, 400, "channel_reserved", "channels[0]: "},
		{"action before authorization", "", `{"peerId":"a","channels":["**"],"permissions":["admin"]}`, 403, "action_not_permitted", "permissions[0]: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config, log := apitest.Config(t)
			credential := tt.credential
			if credential == "" {
				credential = full
			}
			r := apitest.Request("POST", path, tt.body)
			r.Header.Set("Authorization", "Bearer "+credential)
			w := apitest.Do(tokens.New(config), r)
			checkError(t, w, tt.status, tt.code, tt.message)
			if log.String() != "" {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

// checkError wants an error body whose message begins with message, and nothing else in it.
func checkError(t *testing.T, w *httptest.ResponseRecorder, status int, code protocol.Code, message string) {
	t.Helper()
	var got struct{ Error, Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if got.Error != string(code) || !strings.HasPrefix(got.Message, message) {
		t.Errorf("%s: %s\nwant %s: %s…", got.Error, got.Message, code, message)
	}
	apitest.Want(t, w, status, string(protocol.AppendErrorBody(nil, protocol.Errorf(code, "%s", got.Message))))
}

// What goes before the handler is tested with package api; this is that it goes before this one.
func TestTokensIsGuarded(t *testing.T) {
	config, log := apitest.Config(t)
	h := tokens.New(config)

	r := apitest.Request("POST", path, `{"peerId":"a"}`)
	r.Header.Set("Authorization", "Bearer "+apitest.PublicID)
	if w := apitest.Do(h, r); w.Code != 401 || w.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("publishable key: %d %s", w.Code, w.Body)
	}
	r = apitest.Request("POST", path, `{"peerId":"a"}`)
	r.Header.Set("Content-Type", "text/plain")
	if w := apitest.Do(h, r); w.Code != 415 {
		t.Errorf("text/plain: %d %s", w.Code, w.Body)
	}
	if w := apitest.Do(h, apitest.Request("GET", path, "")); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d %s", w.Code, w.Body)
	}
	if w := apitest.Do(h, apitest.Request("POST", path+"/x", `{"peerId":"a"}`)); w.Code != 404 {
		t.Errorf("another path: %d %s", w.Code, w.Body)
	}
	if log.String() != "" {
		t.Errorf("logged: %s", log)
	}
}
