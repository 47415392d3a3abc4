package peers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/presence"
)

func TestList(t *testing.T) {
	type member = presence.Member
	for _, test := range []struct {
		name, target string
		members      []member
		channel      string // asked for
		body         string
	}{
		{"nobody", "/v1/channels/devices%2Fa/peers", nil, "devices/a", `{"channel":"devices/a","peers":[],"cursor":null}`},
		{"several, metadata as it is", "/v1/channels/devices%2Fa/peers", []member{{Peer: "a", Metadata: `{"n":1.0,"s":"<"}`}, {Peer: `b"`}}, "devices/a",
			`{"channel":"devices/a","peers":[{"peerId":"a","metadata":{"n":1.0,"s":"<"}},{"peerId":"b\""}],"cursor":null}`},
		{"slashes that a front door decoded", "/v1/channels/devices/a/peers", nil, "devices/a", `{"channel":"devices/a","peers":[],"cursor":null}`},
		{"escapes in lower case, and a plus", "/v1/channels/devices%2fa%2525+%C3%BC/peers", nil, "devices/a%25+ü", `{"channel":"devices/a%25+ü","peers":[],"cursor":null}`},
		{"a channel that ends like the route", "/v1/channels/devices/peers/peers", nil, "devices/peers", `{"channel":"devices/peers","peers":[],"cursor":null}`},
		{"a channel with publish in it", "/v1/channels/devices/publish/peers", nil, "devices/publish", `{"channel":"devices/publish","peers":[],"cursor":null}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, log := apitest.Config(t)
			var asked string
			h := NewList(config, func(_ context.Context, app, name, after string, limit int) (presence.Page, error) {
				asked = fmt.Sprintf("%s %s %q %d", app, name, after, limit)
				return presence.Page{Members: test.members}, nil
			})
			apitest.Want(t, apitest.Do(h, apitest.Request("GET", test.target, "")), 200, test.body)
			if asked != "app_demo "+test.channel+` "" 500` {
				t.Errorf("asked for %q", asked)
			}
			if log.String() != "" {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

// A page's cursor, as it came, asks for what comes after it.
func TestListPages(t *testing.T) {
	config, _ := apitest.Config(t)
	var asked []string
	h := NewList(config, func(_ context.Context, _, _, after string, limit int) (presence.Page, error) {
		asked = append(asked, fmt.Sprintf("%q %d", after, limit))
		if after == "" {
			return presence.Page{Members: []presence.Member{{Peer: "a"}, {Peer: `<"b`}}, Next: `<"b`}, nil
		}
		return presence.Page{Members: []presence.Member{{Peer: "c"}}}, nil
	})
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/channels/devices%2Fa/peers?limit=2&cursor=", "")), 200,
		`{"channel":"devices/a","peers":[{"peerId":"a"},{"peerId":"<\"b"}],"cursor":"PCJi"}`)
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/channels/devices%2Fa/peers?cursor=PCJi", "")), 200,
		`{"channel":"devices/a","peers":[{"peerId":"c"}],"cursor":null}`)
	if want := []string{`"" 2`, `"<\"b" 500`}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

func TestListRefuses(t *testing.T) {
	narrow := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.NarrowID+":"+apitest.Narrow) }
	for _, test := range []struct {
		name, target string
		change       func(*http.Request)
		status       int
		body         string // how it begins
	}{
		{"no channel", "/v1/channels//peers", nil, 400, `{"error":"invalid_channel"`},
		{"a pattern", "/v1/channels/devices%2F*/peers", nil, 400, `{"error":"invalid_channel"`},
		{"a level that folds", "/v1/channels/devices%2F..%2Fa/peers", nil, 400, `{"error":"invalid_channel"`},
		{"another parameter", "/v1/channels/devices%2Fa/peers?page=5", nil, 400, `{"error":"invalid_request","message":"there is no parameter \"page\"; the parameters are limit, cursor"}`},
		{"limit twice", "/v1/channels/devices%2Fa/peers?limit=5&limit=5", nil, 400, `{"error":"invalid_request","message":"limit is there twice; send it once"}`},
		{"limit 0", "/v1/channels/devices%2Fa/peers?limit=0", nil, 400, `{"error":"invalid_request","message":"limit is \"0\"; it must be a whole number of entries from 1 to 500, in plain digits"}`},
		{"limit 501", "/v1/channels/devices%2Fa/peers?limit=501", nil, 400, `{"error":"invalid_request","message":"limit is`},
		{"limit empty", "/v1/channels/devices%2Fa/peers?limit=", nil, 400, `{"error":"invalid_request","message":"limit is`},
		{"cursor that is no base64", "/v1/channels/devices%2Fa/peers?cursor=Y%3D", nil, 400, `{"error":"invalid_request","message":"invalid cursor: `},
		{"cursor with stray bits", "/v1/channels/devices%2Fa/peers?cursor=YR", nil, 400, `{"error":"invalid_request","message":"invalid cursor: `},
		{"cursor that is no peer", "/v1/channels/devices%2Fa/peers?cursor=AA", nil, 400, `{"error":"invalid_request","message":"invalid cursor: `},
		{"reserved", "/v1/channels/_system%2Fa/peers", nil, 400, `{"error":"channel_reserved"`},
		{"reserved comes before the action", "/v1/channels/_system%2Fa/peers", narrow, 400, `{"error":"channel_reserved"`},
		{"the action comes before the channel", "/v1/channels/devices%2Fa/peers", narrow, 403, `{"error":"action_not_permitted"`},
		{"without the action", "/v1/channels/a%2Fb/peers", narrow, 403, `{"error":"action_not_permitted"`},
		{"beside the key's patterns", "/v1/channels/public%2Fa/peers", nil, 403, `{"error":"channel_not_authorized"`},
		{"a publishable key", "/v1/channels/public%2Fa/peers", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.PublicID) }, 401, `{"error":"unauthorized"`},
		{"a suspended app", "/v1/channels/a/peers", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+apitest.PausedID+":"+apitest.Paused)
		}, 403, `{"error":"account_suspended"`},
		{"another method", "/v1/channels/devices%2Fa/peers", func(r *http.Request) { r.Method = "DELETE" }, 405, `{"error":"method_not_allowed"`},
		{"another path", "/v1/channels/devices%2Fa/peer", nil, 404, `{"error":"not_found"`},
		{"no channel segment", "/v1/channels/peers", nil, 404, `{"error":"not_found"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, _ := apitest.Config(t)
			h := NewList(config, func(context.Context, string, string, string, int) (presence.Page, error) {
				t.Error("it was asked for all the same")
				return presence.Page{}, nil
			})
			r := apitest.Request("GET", test.target, "")
			if test.change != nil {
				test.change(r)
			}
			w := apitest.Do(h, r)
			if w.Code != test.status || !strings.HasPrefix(w.Body.String(), test.body) {
				t.Errorf("%d %s\nwant %d %s…", w.Code, w.Body, test.status, test.body)
			}
		})
	}
}

func TestListWithoutRedis(t *testing.T) {
	config, log := apitest.Config(t)
	h := NewList(config, func(context.Context, string, string, string, int) (presence.Page, error) {
		return presence.Page{}, errors.New("connection reset")
	})
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/channels/devices%2Fa/peers", "")), 503,
		`{"error":"backend_error","message":"who is in the channel could not be read; try again","outcome":"none"}`)
	if !strings.Contains(log.String(), "connection reset") {
		t.Errorf("the log does not say why: %s", log)
	}
}
