package peers

import (
	"context"
	"testing"

	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/presence"
)

func TestBothRoutes(t *testing.T) {
	config, _ := apitest.Config(t)
	f := &fleet{closed: 2}
	h := New(config, Config{Connections: f, Revocations: f, Members: func(context.Context, string, string, string, int) (presence.Page, error) {
		return presence.Page{Members: []presence.Member{{Peer: "a"}}}, nil
	}})
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/channels/devices%2Fa/peers", "")), 200, `{"channel":"devices/a","peers":[{"peerId":"a"}],"cursor":null}`)
	apitest.Want(t, apitest.Do(h, apitest.Request("DELETE", "/v1/peers/a", "")), 200, `{"peerId":"a","closed":2}`)
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/peers/a", "")), 405, `{"error":"method_not_allowed","message":"/v1/peers/{peer} takes DELETE only"}`)
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/channels/a", "")), 404,
		`{"error":"not_found","message":"nothing is served at this path; there is GET /v1/channels/{channel}/peers, DELETE /v1/peers/{peer}"}`)
}
