package orders

import (
	"errors"
	"slices"
	"testing"

	"fleetwire/pkg/redisconn/redistest"

	"github.com/redis/go-redis/v9"
)

// Nodes tell of a peer's connections, and close none.
func TestShow(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		closed := serve(t, rdb, "one", 1)
		serve(t, rdb, "two", 1)
		s := NewSender(rdb, keys)
		shown, err := s.Show(t.Context(), "app", "p:1", []string{"one", "two"})
		var got []string
		for _, one := range shown {
			got = append(got, string(one))
		}
		slices.Sort(got)
		if want := []string{`["one has app p:1"]`, `["two has app p:1"]`}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v", got, err)
		}
		if len(closed) > 0 {
			t.Errorf("it closed %q", <-closed)
		}
		if shown, err := s.Show(t.Context(), "app", "p", nil); len(shown) > 0 || err != nil {
			t.Errorf("no node: %q, %v", shown, err)
		}
		if shown, err := s.Show(t.Context(), "app", "p", []string{"away", "two"}); len(shown) != 1 || !errors.Is(err, ErrUnanswered) {
			t.Errorf("a node does not answer: %q, %v", shown, err)
		}
	})
}

// A node of a version that knows orders to close alone closes nothing when it is asked
// to show.
func TestOlderNodesCloseNothing(t *testing.T) {
	if shows.appField == closes.appField || shows.field == closes.field {
		t.Error("an older node takes an order to show for one to close")
	}
}
