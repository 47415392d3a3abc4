package orders

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
)

// there waits until so many nodes have said that they are there.
func there(t *testing.T, s *Sender, n int) {
	t.Helper()
	redistest.Eventually(t, limit, "all nodes are there", func() bool {
		all, err := s.nodes(t.Context())
		return err == nil && len(all) == n
	})
}

func TestReport(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := NewSender(rdb, keys)
		if reports, unanswered, err := s.Report(t.Context(), "app"); len(reports) > 0 || unanswered > 0 || err != nil {
			t.Errorf("no node: %s, %d, %v", reports, unanswered, err)
		}
		serve(t, rdb, "one", 1) // none has connections
		closed := serve(t, rdb, "two", 1)
		there(t, s, 2)
		reports, unanswered, err := s.Report(t.Context(), "app")
		var got []string
		for _, one := range reports {
			got = append(got, string(one))
		}
		slices.Sort(got)
		if want := []string{`{"node":"one","app":"app"}`, `{"node":"two","app":"app"}`}; err != nil || unanswered != 0 || !slices.Equal(got, want) {
			t.Errorf("%q, %d, %v", got, unanswered, err)
		}
		if len(closed) > 0 {
			t.Errorf("it closed %q", <-closed)
		}
		// One that has died is there for presentFor, and says nothing.
		if err := announce(t.Context(), rdb, keys, "dead"); err != nil {
			t.Fatal(err)
		}
		if reports, unanswered, err := s.Report(t.Context(), "app"); len(reports) != 2 || unanswered != 1 || err != nil {
			t.Errorf("a node is silent: %q, %d, %v", reports, unanswered, err)
		}
		rdb.ZIncrBy(t.Context(), keys.Nodes(), -float64(presentFor.Milliseconds()), "dead")
		there(t, s, 2)
	})
}

// A node that ends is not there any more.
func TestNodesThatEnd(t *testing.T) {
	rdb := redistest.Start(t).Client()
	in := NewInbox(InboxOptions{Redis: rdb, Keys: keys, Node: "one", Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); in.Run(ctx) }()
	there(t, NewSender(rdb, keys), 1)
	cancel()
	<-ended
	there(t, NewSender(rdb, keys), 0)
}
