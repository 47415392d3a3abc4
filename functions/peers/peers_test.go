package peers

import (
	"context"
	"testing"

	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/presence"
)

func alone(context.Context, string, string, string, int) (presence.Page, error) {
	return presence.Page{Members: []presence.Member{{Peer: "a"}}}, nil
}

func TestRoutes(t *testing.T) {
	config, _ := apitest.Config(t)
	f, b := &fleet{closed: 2}, &book{}
	h := New(config, Config{f, f, alone, b, b, &handed{}, b})
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/channels/devices%2Fa/peers", "")), 200, `{"channel":"devices/a","peers":[{"peerId":"a"}],"cursor":null}`)
	apitest.Want(t, apitest.Do(h, apitest.Request("DELETE", "/v1/peers/a", "")), 200, `{"peerId":"a","closed":2}`)
	for _, target := range []string{"/v1/peers", "/v1/peers/"} {
		apitest.Want(t, apitest.Do(h, apitest.Request("GET", target, "")), 200, `{"peers":[],"cursor":null}`)
		apitest.Want(t, apitest.Do(h, apitest.Request("HEAD", target, "")), 200, `{"peers":[],"cursor":null}`)
	}
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/peers/a", "")), 404, `{"error":"peer_not_found","message":"the app knows no peer \"a\""}`)
	apitest.Want(t, apitest.Do(h, apitest.Request("POST", "/v1/peers", "")), 405, `{"error":"method_not_allowed","message":"/v1/peers takes GET, HEAD only"}`)
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/channels/a", "")), 404,
		`{"error":"not_found","message":"nothing is served at this path; there is GET /v1/channels/{channel}/peers, GET /v1/peers, GET /v1/peers/{peer}/commands, GET /v1/peers/{peer}, DELETE /v1/peers/{peer}, GET /v1/nodes"}`)
	w := apitest.Do(h, apitest.Request("POST", "/v1/peers/a", ""))
	apitest.Want(t, w, 405, `{"error":"method_not_allowed","message":"/v1/peers/{peer} takes GET, HEAD, DELETE only"}`)
	if got := w.Header().Get("Allow"); got != "GET, HEAD, DELETE" {
		t.Errorf("Allow: %s", got)
	}
}
