package commands

import (
	"net/http/httptest"
	"slices"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/command"
)

// Whatever a body says, it is refused, or it is a command within all bounds.
func FuzzReadNew(f *testing.F) {
	for _, body := range []string{
		`{"data":1}`, `{}`, `[]`, `{"data":null,"from":"x","waitMs":0,"ttlMs":604800000,"timeoutMs":86400000,"expect":100000,"idempotencyKey":"k","collapseKey":"é","notify":"devices/b"}`,
		`{"data":1,"ttlMs":1,"rollout":{"perMinute":1,"abort":{"failedPct":100,"minAnswered":1}}}`, `{"data":1,"rollout":{}}`, `{"data":1,"expect":1e2}`, `{"data":"\ud800"}`,
	} {
		f.Add([]byte(body))
	}
	store := apitest.Store(f)
	key, _ := store.Current().Key(apitest.KeyID)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := apitest.Request("POST", path, string(body))
		r.SetPathValue("channel", "devices%2Fa")
		n, wait, err := readNew(httptest.NewRecorder(), r, key)
		if err != nil {
			return
		}
		within := wait >= 0 && wait <= command.MaxWait.Milliseconds() && n.TTL >= 0 && n.TTL <= command.MaxTTL &&
			n.Timeout >= command.MinTimeout && n.Timeout <= command.MaxTimeout && n.Expect >= 0 && n.Expect <= command.MaxExpect &&
			len(n.IdempotencyKey) <= command.MaxKeyBytes && len(n.CollapseKey) <= command.MaxKeyBytes && protocol.ValidPeerID(n.From) && len(n.Data) > 0 &&
			(n.Rollout.PerMinute == 0 || n.TTL > 0) && n.Rollout.FailedPct <= 100 && n.Notify != n.Channel
		if !within {
			t.Errorf("%q is read as %+v", body, n)
		}
	})
}

// Whatever a query says, it is refused, or it asks for what there is.
func FuzzReadQuery(f *testing.F) {
	for _, query := range []string{
		"", "waitMs=25000", "waitMs=-1", "waitMs=1&waitMs=2", "status=succeeded&limit=500&cursor=YQ", "status=sent", "status=", "limit=0", "limit=%31", "cursor=YR", "cursor=%FF", "a=b", "%zz", ";",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := apitest.Request("GET", path, "")
		r.URL.RawQuery = query
		for _, known := range [][]command.Status{command.OfPeers, command.OfCommands} {
			p, err := readPage(r, known)
			if err == nil && (p.limit < 1 || p.limit > maxPage || p.status != "" && !slices.Contains(known, p.status) || p.after != "" && !protocol.ValidPeerID(p.after)) {
				t.Errorf("%q is read as %+v", query, p)
			}
		}
		values, err := api.ReadQuery(query, "waitMs")
		if err != nil {
			return
		}
		if wait, err := readWait(values); err == nil && (wait < 0 || wait > command.MaxWait.Milliseconds()) {
			t.Errorf("%q waits %d ms", query, wait)
		}
	})
}
