package redistest

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
)

// A client whose URL has a name can be cut off from all servers of a cluster, or of Sentinels,
// while others are not.
func TestLinks(t *testing.T) {
	cluster, sentinel := StartLinkedCluster(t, 3, 0), StartLinkedSentinel(t, 1)
	for name, test := range map[string]struct {
		url   string
		links *Links
	}{"cluster": {cluster.URL(), cluster.Links}, "sentinel": {sentinel.URL(), sentinel.Links}} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			one, other := Open(t, test.url+"?client_name=one", redisconn.TLS{}), Open(t, test.url+"?client_name=other", redisconn.TLS{})
			all := func(rdb redis.UniversalClient) error {
				var failed []error
				for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
					failed = append(failed, rdb.Set(ctx, key, "x", 0).Err())
				}
				return errors.Join(failed...)
			}
			if err := errors.Join(all(one), all(other)); err != nil {
				t.Fatal(err)
			}
			end := func([]byte) ([]byte, bool) { return nil, true }
			test.links.Pass("one", end, end)
			test.links.Cut("one")
			if err := all(other); err != nil {
				t.Errorf("the other client: %v", err)
			}
			if err := all(one); err == nil {
				t.Error("the client that is cut off works")
			}
			test.links.Pass("one", nil, nil)
			Eventually(t, clusterPatience, "the client works again", func() bool { return all(one) == nil })
		})
	}
}
