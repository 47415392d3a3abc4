package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/revocation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ Connections = (*orders.Sender)(nil)
	_ Revocations = (*revocation.List)(nil)
)

// fleet records what it is told and answers as set.
type fleet struct {
	closed                int64
	unanswered, unrevoked error
	calls                 []string
}

func (f *fleet) Disconnect(_ context.Context, app, peer string) (int64, error) {
	f.calls = append(f.calls, "disconnect "+app+" "+peer)
	return f.closed, f.unanswered
}

func (f *fleet) Revoke(_ context.Context, app *apps.App, peer string, at time.Time) error {
	f.calls = append(f.calls, fmt.Sprint("revoke ", app.ID, " ", peer, " ", at.Equal(apitest.Now)))
	return f.unrevoked
}

// proto is an error as Redis answers it.
type proto string

func (e proto) Error() string { return string(e) }
func (proto) RedisError()     {}

func TestDisconnect(t *testing.T) {
	broken := errors.New("connection reset")
	refused := proto("OOM command not allowed when used memory > 'maxmemory'.")
	unanswered := fmt.Errorf("%w: 1 of 2", orders.ErrUnanswered)
	for _, test := range []struct {
		name, target string
		fleet        fleet
		status       int
		body         string
		calls        []string
	}{
		{"one", "/v1/peers/device-7", fleet{closed: 3}, 200, `{"peerId":"device-7","closed":3}`, []string{"disconnect app_demo device-7"}},
		{"none is no error", "/v1/peers/device-7", fleet{}, 200, `{"peerId":"device-7","closed":0}`, []string{"disconnect app_demo device-7"}},
		{"escapes", "/v1/peers/a%2Fb%20c%25+%7e", fleet{}, 200, `{"peerId":"a/b c%+~","closed":0}`, []string{"disconnect app_demo a/b c%+~"}},
		{"slashes that a front door decoded", "/v1/peers/a/b", fleet{}, 200, `{"peerId":"a/b","closed":0}`, []string{"disconnect app_demo a/b"}},
		{"revoke first", "/v1/peers/p?revoke=true", fleet{closed: 1}, 200, `{"peerId":"p","closed":1}`, []string{"revoke app_demo p true", "disconnect app_demo p"}},
		{"revoke=false", "/v1/peers/p?revoke=false", fleet{closed: 1}, 200, `{"peerId":"p","closed":1}`, []string{"disconnect app_demo p"}},
		{"Redis takes no revocation", "/v1/peers/p?revoke=true", fleet{unrevoked: refused}, 503,
			`{"error":"backend_error","message":"Redis did not take the revocation; nothing was done, try again","outcome":"none"}`, []string{"revoke app_demo p true"}},
		{"too many are revoked", "/v1/peers/p?revoke=true", fleet{unrevoked: revocation.ErrFull}, 400,
			`{"error":"invalid_request","message":"the app has 100000 revoked peers, the most that are kept; nothing was done. Set limits.maxTokenLifeSec in the apps document, so that revocations end sooner, or replace the secret key that signs the tokens"}`, []string{"revoke app_demo p true"}},
		{"Redis does not say whether it took the revocation", "/v1/peers/p?revoke=true", fleet{unrevoked: broken}, 503,
			`{"error":"backend_error","message":"Redis did not answer; whether the peer's tokens are revoked is not known, and its connections were left open; try again","outcome":"unknown"}`, []string{"revoke app_demo p true"}},
		{"Redis takes no order", "/v1/peers/p", fleet{unanswered: refused}, 503,
			`{"error":"backend_error","message":"Redis did not take the order; try again","outcome":"none"}`, []string{"disconnect app_demo p"}},
		{"Redis takes no order after the revocation", "/v1/peers/p?revoke=true", fleet{unanswered: refused}, 503,
			`{"error":"backend_error","message":"Redis did not take the order; the peer's tokens are revoked; try again","outcome":"unknown"}`, []string{"revoke app_demo p true", "disconnect app_demo p"}},
		{"Redis does not say whether it took the order", "/v1/peers/p", fleet{unanswered: broken}, 503,
			`{"error":"backend_error","message":"Redis did not answer; whether the peer's connections are closed is not known; try again","outcome":"unknown"}`, []string{"disconnect app_demo p"}},
		{"a node does not answer", "/v1/peers/p?revoke=true", fleet{closed: 2, unanswered: unanswered}, 503,
			`{"error":"backend_error","message":"not every node has answered; 2 connections are known to be closed, the others will be when their nodes reach Redis again; the peer's tokens are revoked; try again","outcome":"unknown"}`,
			[]string{"revoke app_demo p true", "disconnect app_demo p"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, log := apitest.Config(t)
			f := test.fleet
			apitest.Want(t, apitest.Do(NewDisconnect(config, &f, &f), apitest.Request("DELETE", test.target, "")), test.status, test.body)
			if !slices.Equal(f.calls, test.calls) {
				t.Errorf("told %q, want %q", f.calls, test.calls)
			}
			if logged := log.String() != ""; logged != (test.status >= 500) {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

func TestDisconnectRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		target, body string
		status       int
	}{
		"no peer":                    {"/v1/peers/", `{"error":"invalid_peer_id"`, 400},
		"129 bytes":                  {"/v1/peers/" + strings.Repeat("p", 129), `{"error":"invalid_peer_id"`, 400},
		"control character":          {"/v1/peers/a%0A", `{"error":"invalid_peer_id"`, 400},
		"unknown parameter":          {"/v1/peers/p?force=true", `{"error":"invalid_request","message":"there is no query parameter \"force\"; there is revoke"}`, 400},
		"revoke without a value":     {"/v1/peers/p?revoke", `{"error":"invalid_request","message":"revoke must be true or false, once"}`, 400},
		"revoke in capitals":         {"/v1/peers/p?revoke=TRUE", `{"error":"invalid_request"`, 400},
		"revoke twice":               {"/v1/peers/p?revoke=true&revoke=true", `{"error":"invalid_request"`, 400},
		"query with a broken escape": {"/v1/peers/p?revoke=%zz", `{"error":"invalid_request","message":"the query cannot be read`, 400},
		"another path":               {"/v1/peer/p", `{"error":"not_found"`, 404},
	} {
		t.Run(name, func(t *testing.T) {
			config, _ := apitest.Config(t)
			f := &fleet{}
			w := apitest.Do(NewDisconnect(config, f, f), apitest.Request("DELETE", test.target, ""))
			if w.Code != test.status || !strings.HasPrefix(w.Body.String(), test.body) {
				t.Errorf("%d %s, want %d %s…", w.Code, w.Body, test.status, test.body)
			}
			if len(f.calls) > 0 {
				t.Errorf("did %q all the same", f.calls)
			}
		})
	}
}
