package routes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/events"
	"fleetwire/functions/internal/apitest"
	"fleetwire/functions/routes"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/command"
	happenings "fleetwire/pkg/events"
	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/registry"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/usage"
)

// echo says yes to every message.
type echo struct{}

func (echo) Check(publish.Message) *protocol.Error { return nil }

func (echo) Publish(context.Context, publish.Message) publish.Result {
	return publish.Result{Subscribers: 3}
}

func (e echo) Submit(m publish.Message, done publish.Completion) *protocol.Error {
	done.Published(e.Publish(context.Background(), m))
	return nil
}

// blank knows of no usage.
type blank struct{}

func (blank) Report(_ context.Context, app *apps.App) (usage.Report, error) {
	return usage.Report{AppID: app.ID}, nil
}

func (blank) Top(context.Context, string, usage.Kind, *channel.Pattern, int, string) (usage.Page, error) {
	return usage.Page{}, nil
}

// empty has no connections.
type empty struct{}

func (empty) Disconnect(context.Context, string, string) (int64, error) { return 0, nil }

func (empty) Revoke(context.Context, *apps.App, string, time.Time) error { return nil }

// strangers is a registry that knows nobody.
type strangers struct{}

func (strangers) List(context.Context, *apps.App, registry.Query) (registry.Page, error) {
	return registry.Page{}, nil
}

func (strangers) Get(context.Context, *apps.App, string) (registry.Peer, bool, error) {
	return registry.Peer{}, false, nil
}

func (strangers) Report(context.Context, string) ([]json.RawMessage, int, error) { return nil, 1, nil }

func (strangers) Open(context.Context, *apps.Key, happenings.Request) (<-chan happenings.Event, error) {
	none := make(chan happenings.Event)
	close(none)
	return none, nil
}

func (strangers) Show(context.Context, string, string, []string) ([]json.RawMessage, error) {
	return nil, nil
}

// oblivious remembers nothing.
type oblivious struct{}

func (oblivious) Read(context.Context, []*history.Read) error { return history.ErrForgetful }

func (oblivious) Forget(context.Context, *apps.App, string) error { return history.ErrForgetful }

// alone is who is in every channel.
func alone(_ context.Context, app, name, _ string, _ int) (presence.Page, error) {
	return presence.Page{Members: []presence.Member{{Peer: app + " " + name}}}, nil
}

// unknown knows of no command, and creates none.
type unknown struct{}

func (unknown) Create(context.Context, command.New, time.Duration) (*command.Command, *command.Refusal) {
	return nil, &command.Refusal{Error: protocol.Errorf(protocol.NobodySubscribed, "")}
}

func (unknown) Channel(context.Context, string, string) (string, error) {
	return "", command.ErrNotFound
}

func (unknown) Wait(context.Context, *apps.Key, string, time.Duration) (*command.Command, error) {
	return nil, command.ErrNotFound
}

func (unknown) Cancel(context.Context, string, string) (*command.Command, error) {
	return nil, command.ErrNotFound
}

func (unknown) List(context.Context, string, string, command.Status, string, int) (command.Page, error) {
	return command.Page{}, nil
}

func (unknown) OfPeer(context.Context, string, string, string, int, func(string) bool) (command.OfPeerPage, error) {
	return command.OfPeerPage{}, nil
}

func (unknown) Answers(context.Context, string, string, command.Status, string, int) (command.AnswersPage, error) {
	return command.AnswersPage{}, command.ErrNotFound
}

// idle has groups for which nothing waits.
type idle struct{}

func (idle) Wait(context.Context, group.Pull, string, time.Duration) ([]group.Message, error) {
	return nil, nil
}

func (idle) Ack(_ context.Context, _ *apps.App, _ *apps.Group, acks []string, nacks []group.Nack) ([]bool, error) {
	return make([]bool, len(acks)+len(nacks)), nil
}

func (idle) State(context.Context, *apps.App, *apps.Group) (group.State, error) {
	return group.State{}, nil
}

func (idle) Dead(context.Context, *apps.App, *apps.Group, string, int) ([]group.DeadLetter, string, error) {
	return nil, "", nil
}

func (idle) Redrive(context.Context, *apps.App, *apps.Group, []string) (int, error) { return 0, nil }

func (idle) DeleteDead(context.Context, *apps.App, *apps.Group, []string) (int, error) {
	return 0, nil
}

func (idle) Read(context.Context, *apps.App, *apps.Group) (sink.State, error) {
	return sink.State{Condition: sink.OK}, nil
}

func (idle) Resume(context.Context, *apps.App, *apps.Group) error { return nil }

func handler(t *testing.T) (http.Handler, *apitest.Log) {
	t.Helper()
	config, log := apitest.Config(t)
	return routes.New(routes.Config{
		Apps: config.Apps, Limiter: config.Limiter, Publisher: echo{}, Usage: blank{}, Connections: empty{}, Revocations: empty{}, Members: alone, Registry: strangers{}, Shower: strangers{}, Events: strangers{}, Reporter: strangers{}, Commands: unknown{}, History: oblivious{}, Groups: idle{}, Sinks: idle{}, Log: config.Log, Now: config.Now,
	}), log
}

func TestDispatch(t *testing.T) {
	const nothing = `{"error":"not_found","message":"nothing is served at this path; there is POST /v1/tokens, POST /v1/channels/{channel}/publish, POST /v1/publish, GET /v1/channels/{channel}/messages, DELETE /v1/channels/{channel}/messages, POST /v1/channels/{channel}/commands, GET /v1/channels/{channel}/commands, GET /v1/commands/{id}/answers, GET /v1/commands/{id}, DELETE /v1/commands/{id}, POST /v1/groups/{group}/pull, POST /v1/groups/{group}/ack, GET /v1/groups/{group}/dead, DELETE /v1/groups/{group}/dead, POST /v1/groups/{group}/redrive, POST /v1/groups/{group}/resume, GET /v1/groups/{group}, GET /v1/channels/{channel}/peers, GET /v1/peers, GET /v1/peers/{peer}/commands, GET /v1/peers/{peer}, DELETE /v1/peers/{peer}, GET /v1/nodes, GET /v1/events, GET /v1/usage, GET /v1/usage/channels, GET /v1/usage/peers"}`
	tests := []struct {
		method, target string
		status         int
		body           string // how it begins
		allow          string
	}{
		{"POST", "/v1/channels/devices%2Fa/publish", 200, `{"channel":"devices/a","subscribers":3}`, ""},
		{"POST", "/v1/channels/devices/a/publish", 200, `{"channel":"devices/a","subscribers":3}`, ""},
		{"POST", "/v1/channels/devices//a/publish", 200, `{"channel":"devices//a","subscribers":3}`, ""},
		{"POST", "/v1/channels/a/../b/publish", 200, `{"channel":"a/../b","subscribers":3}`, ""}, // for the door to refuse
		{"POST", "/v1/channels/v1/tokens/publish", 200, `{"channel":"v1/tokens","subscribers":3}`, ""},
		{"POST", "/v1/publish", 400, `{"error":"invalid_request","message":"there is no field \"data\"; the fields are messages"}`, ""},
		{"POST", "/v1/publish/", 400, `{"error":"invalid_request"`, ""},
		{"GET", "/v1/publish", 405, `{"error":"method_not_allowed","message":"/v1/publish takes POST only"}`, "POST"},
		{"POST", "/v1/tokens", 400, `{"error":"invalid_request","message":"there is no field \"data\"`, ""},
		{"GET", "/v1/usage", 200, `{"appId":"app_demo","periodStartUnix":0,`, ""},
		{"GET", "/v1/usage/channels?limit=5", 200, `{"channels":[],"cursor":null}`, ""},
		{"GET", "/v1/usage/peers", 200, `{"peers":[],"cursor":null}`, ""},
		{"GET", "/v1/channels/devices%2Fa/peers", 200, `{"channel":"devices/a","peers":[{"peerId":"app_demo devices/a"}],"cursor":null}`, ""},
		{"GET", "/v1/channels/devices//publish/peers", 200, `{"channel":"devices//publish","peers":[{"peerId":"app_demo devices//publish"}],"cursor":null}`, ""},
		{"GET", "/v1/channels/devices%2Fa/messages", 400, `{"error":"invalid_request","message":"channel \"devices/a\" remembers no messages`, ""},
		{"DELETE", "/v1/channels/devices/a/messages/", 400, `{"error":"invalid_request","message":"channel \"devices/a\" remembers no messages`, ""},
		{"POST", "/v1/channels/devices/a/messages", 405, `{"error":"method_not_allowed","message":"/v1/channels/{channel}/messages takes GET, HEAD, DELETE only"}`, "GET, HEAD, DELETE"},
		{"POST", "/v1/channels/devices%2Fa/commands", 409, `{"error":"nobody_subscribed"`, ""},
		{"GET", "/v1/channels/devices/a/commands/", 200, `{"channel":"devices/a","commands":[],"cursor":null}`, ""},
		{"DELETE", "/v1/channels/devices/a/commands", 405, `{"error":"method_not_allowed","message":"/v1/channels/{channel}/commands takes POST, GET, HEAD only"}`, "POST, GET, HEAD"},
		{"GET", "/v1/commands/cmd_1", 404, `{"error":"command_not_found"`, ""},
		{"GET", "/v1/commands/cmd_1/answers", 404, `{"error":"command_not_found"`, ""},
		{"DELETE", "/v1/commands/cmd_1", 404, `{"error":"command_not_found"`, ""},
		{"POST", "/v1/commands/cmd_1", 405, `{"error":"method_not_allowed","message":"/v1/commands/{id} takes GET, HEAD, DELETE only"}`, "GET, HEAD, DELETE"},
		{"POST", "/v1/groups/ingest/pull", 400, `{"error":"invalid_request","message":"there is no field \"data\"; the fields are max, maxBytes, waitMs, consumer"}`, ""},
		{"POST", "/v1/groups/ingest/ack/", 400, `{"error":"invalid_request","message":"there is no field \"data\"; the fields are ackIds, nack"}`, ""},
		{"POST", "/v1/groups/ingest/redrive", 400, `{"error":"invalid_request","message":"there is no field \"data\"; the fields are ids"}`, ""},
		{"POST", "/v1/groups/ingest/resume", 400, `{"error":"invalid_request","message":"this path takes no fields; leave the body empty, or send {}"}`, ""},
		{"GET", "/v1/groups/crm", 200, `{"group":"crm","lag":0,`, ""},
		{"GET", "/v1/groups/ingest/dead", 200, `{"messages":[],"cursor":null}`, ""},
		{"DELETE", "/v1/groups/ingest/dead", 200, `{"deleted":0}`, ""},
		{"GET", "/v1/groups/ingest", 200, `{"group":"ingest","lag":0,`, ""},
		{"GET", "/v1/groups/other", 404, `{"error":"group_not_found","message":"there is no group \"other\" in the app's configuration"}`, ""},
		{"GET", "/v1/groups/ingest/pull", 404, `{"error":"group_not_found","message":"there is no group \"ingest/pull\" in the app's configuration"}`, ""},
		{"DELETE", "/v1/groups/ingest/pull", 405, `{"error":"method_not_allowed","message":"/v1/groups/{group}/pull takes POST only"}`, "POST"},
		{"PUT", "/v1/groups/ingest/dead", 405, `{"error":"method_not_allowed","message":"/v1/groups/{group}/dead takes GET, HEAD, DELETE only"}`, "GET, HEAD, DELETE"},
		{"POST", "/v1/channels/devices/peers/publish", 200, `{"channel":"devices/peers","subscribers":3}`, ""},
		{"POST", "/v1/channels/devices/peers", 405, `{"error":"method_not_allowed","message":"/v1/channels/{channel}/peers takes GET, HEAD only"}`, "GET, HEAD"},
		{"DELETE", "/v1/peers/camera%201", 200, `{"peerId":"camera 1","closed":0}`, ""},
		{"DELETE", "/v1/peers/a/b", 200, `{"peerId":"a/b","closed":0}`, ""},
		{"GET", "/v1/peers/a", 404, `{"error":"peer_not_found","message":"the app knows no peer \"a\""}`, ""},
		{"GET", "/v1/peers/a/b/", 404, `{"error":"peer_not_found","message":"the app knows no peer \"a/b/\""}`, ""},
		{"PUT", "/v1/peers/a", 405, `{"error":"method_not_allowed","message":"/v1/peers/{peer} takes GET, HEAD, DELETE only"}`, "GET, HEAD, DELETE"},
		{"GET", "/v1/peers?limit=5", 200, `{"peers":[],"cursor":null}`, ""},
		{"GET", "/v1/peers/", 200, `{"peers":[],"cursor":null}`, ""},
		{"DELETE", "/v1/peers/", 400, `{"error":"invalid_peer_id"`, ""},
		{"DELETE", "/v1/peers", 405, `{"error":"method_not_allowed","message":"/v1/peers takes GET, HEAD only"}`, "GET, HEAD"},
		{"POST", "/v1/usage", 405, `{"error":"method_not_allowed","message":"/v1/usage takes GET, HEAD only"}`, "GET, HEAD"},
		{"GET", "/v1/usage/", 200, `{"appId":"app_demo","periodStartUnix":0,`, ""},
		{"GET", "/v1/usage/channels/", 200, `{"channels":[],"cursor":null}`, ""},
		{"HEAD", "/v1/usage", 200, `{"appId"`, ""},
		{"POST", "/v1/channels/a/publish/", 200, `{"channel":"a","subscribers":3}`, ""},
		{"DELETE", "/v1/peers/a/", 200, `{"peerId":"a/","closed":0}`, ""},
		{"GET", "/v1/tokens", 405, `{"error":"method_not_allowed","message":"/v1/tokens takes POST only"}`, "POST"},
		{"HEAD", "/v1/tokens", 405, `{"error":"method_not_allowed","message":"/v1/tokens takes POST only"}`, "POST"},
		{"PUT", "/v1/channels/a/publish", 405, `{"error":"method_not_allowed","message":"/v1/channels/{channel}/publish takes POST only"}`, "POST"},
		{"OPTIONS", "/v1/channels/a/publish", 405, `{"error":"method_not_allowed","message":"/v1/channels/{channel}/publish takes POST only"}`, "POST"},
		{"POST", "/", 404, nothing, ""},
		{"POST", "/v1", 404, nothing, ""},
		{"POST", "/v1/tokens/", 400, `{"error":"invalid_request","message":"there is no field \"data\"`, ""},
		{"POST", "/v1/tokens//", 404, nothing, ""},
		{"FOO", "/v1/tokens", 405, `{"error":"method_not_allowed","message":"/v1/tokens takes POST only"}`, "POST"},
		{"POST", "/v1//tokens", 404, nothing, ""},
		{"POST", "/v1/./tokens", 404, nothing, ""},
		{"POST", "/v2/tokens", 404, nothing, ""},
		{"POST", "/v1/channels/a/subscribe", 404, nothing, ""},
		{"POST", "/v1/channels/publish", 404, nothing, ""},
		{"POST", "/v1/channels/a%2Fpublish", 404, nothing, ""}, // the channel "a/publish", and no verb
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			h, log := handler(t)
			w := apitest.Do(h, apitest.Request(tt.method, tt.target, `{"data":1}`))
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.body) || w.Header().Get("Allow") != tt.allow {
				t.Errorf("%d %s, Allow %q\nwant %d %s…, %q", w.Code, w.Body, w.Header().Get("Allow"), tt.status, tt.body, tt.allow)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type: %q", got)
			}
			if log.String() != "" {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

// A whole server must not clean paths either, nor redirect.
func TestServerLeavesPathsAlone(t *testing.T) {
	h, _ := handler(t)
	server := httptest.NewServer(h)
	defer server.Close()
	transport := server.Client().Transport // which follows no redirects
	for path, channel := range map[string]string{
		"devices//a":   `"devices//a"`,
		"a%2F%2Fb%2f":  `"a//b/"`,
		"a%252Fb":      `"a%2Fb"`,
		"a+b%2Bc%20d":  `"a+b+c d"`,
		"%C3%BC/%22<>": `"ü/\"<>"`,
	} {
		r, err := http.NewRequest("POST", server.URL+"/v1/channels/"+path+"/publish", strings.NewReader(`{"data":1}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+apitest.KeyID+":"+apitest.Secret)
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		if err := response.Write(&body); err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if want := `{"channel":` + channel + `,"subscribers":3}`; response.StatusCode != 200 || !strings.HasSuffix(body.String(), want) {
			t.Errorf("%s: %s\nwant 200 %s", path, body.String(), want)
		}
	}
}

// The list that a deployment is held against is the list that is served.
func TestAllRoutesAreServed(t *testing.T) {
	h, _ := handler(t)
	seen := map[string]bool{}
	for _, route := range routes.All() {
		if route.Method == "" || route.Function == "" && route != events.Route || seen[route.String()] {
			t.Errorf("%+v is incomplete or there twice", route)
		}
		seen[route.String()] = true
		target := strings.NewReplacer("{", "", "}", "").Replace(route.Path)
		r := httptest.NewRequest(route.Method, target, nil) // without a credential
		if w := apitest.Do(h, r); w.Code != 401 {
			t.Errorf("%s: %d %s, want 401: it is not there", route, w.Code, w.Body)
		}
	}
	for _, route := range []string{
		"POST /v1/tokens", "POST /v1/channels/{channel}/publish", "POST /v1/publish",
		"GET /v1/channels/{channel}/peers", "GET /v1/usage", "GET /v1/usage/channels", "GET /v1/usage/peers",
	} {
		if !seen[route] {
			t.Errorf("%s is missing: %v", route, routes.All())
		}
	}
}

// Without a Reader the usage routes are no routes, and nothing says they were.
func TestWithoutUsage(t *testing.T) {
	config, _ := apitest.Config(t)
	h := routes.New(routes.Config{Apps: config.Apps, Limiter: config.Limiter, Publisher: echo{}, Log: config.Log, Now: config.Now})
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/usage", "")), 404,
		`{"error":"not_found","message":"nothing is served at this path; there is POST /v1/tokens, POST /v1/channels/{channel}/publish, POST /v1/publish"}`)
}

// An observer hears of every request once: route, method and status.
func TestObserve(t *testing.T) {
	config, _ := apitest.Config(t)
	var heard []string
	h := routes.New(routes.Config{
		Apps: config.Apps, Limiter: config.Limiter, Publisher: echo{}, Usage: blank{}, Log: config.Log, Now: config.Now,
		Observe: func(route, method string, status int, took time.Duration) {
			if took < 0 {
				t.Errorf("it took %v", took)
			}
			heard = append(heard, fmt.Sprintf("%s %s %d", method, route, status))
		},
	})
	for _, tt := range []struct{ method, target, want string }{
		{"POST", "/v1/channels/devices%2Fa/publish", "POST /v1/channels/{channel}/publish 200"},
		{"POST", "/v1/tokens", "POST /v1/tokens 400"},
		{"PUT", "/v1/tokens", "PUT /v1/tokens 405"},
		{"GET", "/v1/usage/peers", "GET /v1/usage/peers 200"},
		{"DELETE", "/v1/peers/a", "DELETE  404"}, // not served here
		{"GET", "/nowhere/devices%2Fa", "GET  404"},
	} {
		heard = nil
		apitest.Do(h, apitest.Request(tt.method, tt.target, `{"data":1}`))
		if len(heard) != 1 || heard[0] != tt.want {
			t.Errorf("%s %s: heard %q, want %q", tt.method, tt.target, heard, tt.want)
		}
	}
}

// A viewer's key reads whatever its actions and patterns cover, and changes nothing.
func TestViewersOnlyRead(t *testing.T) {
	h, log := handler(t)
	for _, route := range routes.All() {
		target := strings.NewReplacer("{channel}", "devices%2Fx%2Fstate", "{peer}", "cam-1", "{id}", "cmd_1", "{group}", "ingest").Replace(route.Path)
		r := apitest.Request(route.Method, target, `{}`)
		r.Header.Set("Authorization", "Bearer "+apitest.ViewerID+":"+apitest.Viewer)
		w := apitest.Do(h, r)
		refused := w.Code == http.StatusForbidden && strings.Contains(w.Body.String(), `"error":"action_not_permitted"`)
		if reads := route.Method == http.MethodGet; refused == reads {
			t.Errorf("%s: %d %s", route, w.Code, w.Body)
		}
		if refused && !strings.Contains(w.Body.String(), "key sk_live_viewer has the role viewer, which only reads") {
			t.Errorf("%s: %s", route, w.Body)
		}
	}
	if strings.Contains(log.String(), apitest.SecretTip) {
		t.Errorf("a secret is in the log: %s", log)
	}
}
