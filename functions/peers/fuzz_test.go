package peers

import (
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/registry"
)

// Whatever a query says, it is refused, or it asks for peers that there can be.
func FuzzReadAll(f *testing.F) {
	for _, query := range []string{
		"", "prefix=cam-&online=true&seenBefore=1767222000123&limit=500&cursor=YQ", "online=false", "online=1", "online=", "seenBefore=0", "seenBefore=%2B5",
		"seenBefore=9223372036854775808", "prefix=%00", "prefix=%C3%A9", "limit=501", "cursor=YR", "a=b", "prefix=a&prefix=b", "%zz", ";",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := apitest.Request("GET", "/v1/peers", "")
		r.URL.RawQuery = query
		q, err := readAll(r)
		if err != nil {
			return
		}
		if q.Limit < 1 || q.Limit > registry.MaxPage || q.SeenBefore < 0 || q.Prefix != "" && !protocol.ValidPeerID(q.Prefix) || q.After != "" && !protocol.ValidPeerID(q.After) {
			t.Errorf("%q is read as %+v", query, q)
		}
	})
}
