package commands

import (
	"net/http/httptest"
	"testing"

	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/command"
	"fleetwire/pkg/protocol"
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
