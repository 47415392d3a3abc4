package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/registry"
)

var (
	_ Registry = (*registry.Reader)(nil)
	_ Shower   = (*orders.Sender)(nil)
	_ Reporter = (*orders.Sender)(nil)
)

// book is a registry that answers as set, and notes what it was asked.
type book struct {
	peers []registry.Peer
	next  string
	err   error

	shown   []string
	unshown error

	asked []string

	reports    []string
	unanswered int
}

func (b *book) Report(_ context.Context, app string) (reports []json.RawMessage, unanswered int, err error) {
	b.asked = append(b.asked, "report "+app)
	for _, s := range b.reports {
		reports = append(reports, json.RawMessage(s))
	}
	return reports, b.unanswered, b.err
}

func (b *book) List(_ context.Context, app *apps.App, q registry.Query) (registry.Page, error) {
	b.asked = append(b.asked, fmt.Sprintf("%s %+v", app.ID, q))
	return registry.Page{Peers: b.peers, Next: b.next}, b.err
}

func (b *book) Get(_ context.Context, app *apps.App, peer string) (registry.Peer, bool, error) {
	b.asked = append(b.asked, app.ID+" "+peer)
	if len(b.peers) == 0 {
		return registry.Peer{}, false, b.err
	}
	return b.peers[0], true, b.err
}

func (b *book) Show(_ context.Context, app, peer string, _ []string) (shown []json.RawMessage, err error) {
	b.asked = append(b.asked, "show "+app+" "+peer)
	for _, s := range b.shown {
		shown = append(shown, json.RawMessage(s))
	}
	return shown, b.unshown
}

var (
	off = registry.Peer{PeerID: "b", Epoch: 2, ConnectedAt: 5, LastSeenAt: 9, LastDisconnect: &registry.Disconnect{At: 9, Code: 4000, Reason: registry.Inactive}}
	on  = registry.Peer{PeerID: "a", Online: true, Epoch: 42, ConnectedAt: 6, LastSeenAt: 10, Metadata: json.RawMessage(`{"v":1}`)}
)

const (
	onText  = `"peerId":"a","online":true,"epoch":42,"connectedAt":6,"lastSeenAt":10,"metadata":{"v":1}`
	offText = `"peerId":"b","online":false,"epoch":2,"connectedAt":5,"lastSeenAt":9,"lastDisconnect":{"at":9,"code":4000,"reason":"inactive"}`
)

func TestAll(t *testing.T) {
	long := strings.Repeat("p", 128)
	for name, tt := range map[string]struct {
		query string
		book  book
		body  string
		asked string
	}{
		"none":          {"", book{}, `{"peers":[],"cursor":null}`, `app_demo {Prefix: Online:0 SeenBefore:0 After: Limit:500}`},
		"some":          {"?limit=2", book{peers: []registry.Peer{on, off}, next: "b"}, `{"peers":[{` + onText + `},{` + offText + `}],"cursor":"Yg"}`, `app_demo {Prefix: Online:0 SeenBefore:0 After: Limit:2}`},
		"next page":     {"?cursor=Yg&limit=2", book{}, `{"peers":[],"cursor":null}`, `app_demo {Prefix: Online:0 SeenBefore:0 After:b Limit:2}`},
		"empty cursor":  {"?cursor=", book{}, `{"peers":[],"cursor":null}`, `app_demo {Prefix: Online:0 SeenBefore:0 After: Limit:500}`},
		"filters":       {"?prefix=cam%2F*&online=true&seenBefore=1767222000123", book{}, `{"peers":[],"cursor":null}`, `app_demo {Prefix:cam/* Online:1 SeenBefore:1767222000123 After: Limit:500}`},
		"offline":       {"?online=false&prefix=", book{}, `{"peers":[],"cursor":null}`, `app_demo {Prefix: Online:2 SeenBefore:0 After: Limit:500}`},
		"a long prefix": {"?prefix=" + long, book{}, `{"peers":[],"cursor":null}`, `app_demo {Prefix:` + long + ` Online:0 SeenBefore:0 After: Limit:500}`},
	} {
		t.Run(name, func(t *testing.T) {
			config, _ := apitest.Config(t)
			b := tt.book
			apitest.Want(t, apitest.Do(NewAll(config, &b), apitest.Request("GET", "/v1/peers"+tt.query, "")), 200, tt.body)
			if got := strings.Join(b.asked, ", "); got != tt.asked {
				t.Errorf("asked %s, want %s", got, tt.asked)
			}
		})
	}
}

func TestAllRefuses(t *testing.T) {
	for query, begins := range map[string]string{
		"?limit=0":                            `{"error":"invalid_request","message":"limit is \"0\"; it must be a whole number`,
		"?limit=501":                          `{"error":"invalid_request","message":"limit is \"501\"`,
		"?limit=+5":                           `{"error":"invalid_request","message":"limit is`,
		"?cursor=!":                           `{"error":"invalid_request","message":"invalid cursor`,
		"?cursor=Yg==":                        `{"error":"invalid_request","message":"invalid cursor`,
		"?prefix=%C3%A9":                      `{"error":"invalid_request","message":"prefix is \"é\"; it must be how peer ids begin`,
		"?prefix=a%0A":                        `{"error":"invalid_request","message":"prefix is`,
		"?prefix=" + strings.Repeat("p", 129): `{"error":"invalid_request","message":"prefix is`,
		"?online=1":                           `{"error":"invalid_request","message":"online is \"1\"; it must be true or false"}`,
		"?online=":                            `{"error":"invalid_request","message":"online is \"\"; it must be true or false"}`,
		"?seenBefore=":                        `{"error":"invalid_request","message":"seenBefore is \"\"; it must be a time in unix milliseconds`,
		"?seenBefore=-1":                      `{"error":"invalid_request","message":"seenBefore is`,
		"?seenBefore=0":                       `{"error":"invalid_request","message":"seenBefore is`,
		"?seenBefore=1e9":                     `{"error":"invalid_request","message":"seenBefore is`,
		"?seenBefore=yesterday":               `{"error":"invalid_request","message":"seenBefore is`,
		"?seenBefore=99999999999999999999":    `{"error":"invalid_request","message":"seenBefore is`,
		"?online=true&online=true":            `{"error":"invalid_request","message":"online is there twice; send it once"}`,
		"?peer=a":                             `{"error":"invalid_request","message":"there is no parameter \"peer\"; the parameters are prefix, online, seenBefore, limit, cursor"}`,
		"?%zz":                                `{"error":"invalid_request","message":"the query cannot be read`,
	} {
		t.Run(query, func(t *testing.T) {
			config, _ := apitest.Config(t)
			b := &book{}
			w := apitest.Do(NewAll(config, b), apitest.Request("GET", "/v1/peers"+query, ""))
			if w.Code != 400 || !strings.HasPrefix(w.Body.String(), begins) || len(b.asked) > 0 {
				t.Errorf("%d %s, asked %q", w.Code, w.Body, b.asked)
			}
		})
	}
}

func TestOne(t *testing.T) {
	const first = `[{"id":"9","node":"n1","protocol":"websocket","address":"192.0.2.7","connectedAt":6,"userAgent":"py","subscriptions":["devices/a","secret/b","devices/*","**"]}]`
	const second = `[{"id":"8","node":"n2","protocol":"websocket","address":"192.0.2.8","connectedAt":7,"subscriptions":[]}]`
	for name, tt := range map[string]struct {
		peer  string
		book  book
		code  int
		body  string
		asked string
	}{
		"unknown": {"a", book{}, 404, `{"error":"peer_not_found","message":"the app knows no peer \"a\""}`, "app_demo a"},
		"offline": {"b", book{peers: []registry.Peer{off}}, 200, `{` + offText + `,"connections":[]}`, "app_demo b"},
		"online": {"a%2F+%25", book{peers: []registry.Peer{on}, shown: []string{first, `[]`, second}}, 200,
			`{` + onText + `,"connections":[{"id":"8","protocol":"websocket","connectedAt":7,"subscriptions":[]},{"id":"9","protocol":"websocket","connectedAt":6,"subscriptions":["devices/a","devices/*"]}]}`,
			"app_demo a/+%, show app_demo a/+%"},
		"online, and just gone": {"a", book{peers: []registry.Peer{on}}, 200, `{` + onText + `,"connections":[]}`, "app_demo a, show app_demo a"},
		"Redis is away":         {"a", book{err: errors.New("broken")}, 503, `{"error":"backend_error","message":"the peer could not be read; try again","outcome":"none"}`, "app_demo a"},
		"a node does not answer": {"a", book{peers: []registry.Peer{on}, unshown: fmt.Errorf("%w: 1 of 2", orders.ErrUnanswered)}, 200,
			`{` + onText + `,"connections":[]}`, "app_demo a, show app_demo a"},
		"no node can be asked": {"a", book{peers: []registry.Peer{on}, unshown: errors.New("broken")}, 503,
			`{"error":"backend_error","message":"the nodes could not be asked for the peer's connections; try again","outcome":"none"}`, "app_demo a, show app_demo a"},
		"a node says nonsense": {"a", book{peers: []registry.Peer{on}, shown: []string{"x"}}, 500,
			`{"error":"internal_error","message":"a node told of the peer's connections in a form that is not known"}`, "app_demo a, show app_demo a"},
	} {
		t.Run(name, func(t *testing.T) {
			config, _ := apitest.Config(t)
			b := tt.book
			apitest.Want(t, apitest.Do(NewOne(config, &b, &b), apitest.Request("GET", "/v1/peers/"+tt.peer, "")), tt.code, tt.body)
			if got := strings.Join(b.asked, ", "); got != tt.asked {
				t.Errorf("asked %s, want %s", got, tt.asked)
			}
		})
	}
}

// A key that may watch the connectivity of all peers sees where connections come from.
func TestOneForThoseWhoWatchConnectivity(t *testing.T) {
	const shown = `[{"id":"9","node":"n1","protocol":"websocket","address":"192.0.2.7","connectedAt":6,"userAgent":"py","subscriptions":[]}]`
	for patterns, sees := range map[string]bool{
		`"_system/connectivity/**"`:     true,
		`"a","_system/connectivity/**"`: true,
		`"_system/connectivity/*"`:      false,
		`"_system/connectivity/cam-**"`: false,
		`"_system/**"`:                  false,
		`"**"`:                          false,
		`"_system/connectivit*/**"`:     false,
	} {
		t.Run(patterns, func(t *testing.T) {
			config, _ := apitest.Config(t)
			dir, err := apps.Parse([]byte(`{"apps":[{"id":"app_demo","keys":[{"id":"` + apitest.KeyID + `","secret":"` + apitest.Secret + `","channelPatterns":[` + patterns + `],"actions":["presence"]}]}]}`))
			if err != nil {
				t.Fatal(err)
			}
			config.Apps.Replace(dir)
			b := &book{peers: []registry.Peer{on}, shown: []string{shown}}
			want := `{` + onText + `,"connections":[{"id":"9","protocol":"websocket","connectedAt":6,"subscriptions":[]}]}`
			if sees {
				want = `{` + onText + `,"connections":` + shown + `}`
			}
			apitest.Want(t, apitest.Do(NewOne(config, b, b), apitest.Request("GET", "/v1/peers/a", "")), 200, want)
		})
	}
}

func TestRegistryRefuses(t *testing.T) {
	for target, want := range map[string]string{
		"/v1/peers/" + strings.Repeat("p", 129): `400 {"error":"invalid_peer_id"`,
		"/v1/peers/%0A":                         `400 {"error":"invalid_peer_id"`,
		"/v1/peers/a?limit=1":                   `400 {"error":"invalid_request","message":"there is no parameter \"limit\"; this path takes none"}`,
	} {
		config, _ := apitest.Config(t)
		b := &book{}
		w := apitest.Do(NewOne(config, b, b), apitest.Request("GET", target, ""))
		if got := fmt.Sprint(w.Code, " ", w.Body); !strings.HasPrefix(got, want) || len(b.asked) > 0 {
			t.Errorf("%s: %s, want %s; asked %q", target, got, want, b.asked)
		}
	}
	config, _ := apitest.Config(t)
	b := &book{peers: []registry.Peer{on}}
	for _, target := range []string{"/v1/peers", "/v1/peers/a"} {
		r := apitest.Request("GET", target, "")
		r.Header.Set("Authorization", "Bearer "+apitest.NarrowID+":"+apitest.Narrow)
		w := apitest.Do(New(config, Config{&fleet{}, &fleet{}, alone, b, b, &handed{}, b}), r)
		apitest.Want(t, w, 403, `{"error":"action_not_permitted","message":"this credential does not allow presence"}`)
	}
	if len(b.asked) > 0 {
		t.Errorf("asked %q for a key without presence", b.asked)
	}
}
