package publish

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// TestBatchesByApp: each app's messages go against its own counter, in order.
func TestBatchesByApp(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	c := expect(7)
	apps := map[string]*apps.App{"a": app("a", 5), "a-b": app("a-b", 7), "open": app("open", 9)}
	apps["open"].Plan.OveragesAllowed, apps["open"].Plan.OveragesEnabled = true, true
	s.submit(t, message(apps["a"], "first"), c.of(""))
	<-s.sender.began
	for i, id := range []string{"a", "a-b", "a", "open", "a-b", "a"} {
		s.submit(t, message(apps[id], strconv.Itoa(i)), c.of(""))
	}
	close(gate)
	c.wait(t)
	want := []struct {
		counter quota.Counter
		data    string
	}{
		{quota.Messages(rediskeys.Namespace{}, apps["a"], s.now), "0,2,5"},
		{quota.Messages(rediskeys.Namespace{}, apps["a-b"], s.now), "1,4"},
		{quota.Messages(rediskeys.Namespace{}, apps["open"], s.now), "3"},
	}
	if len(s.sender.calls[1]) != len(want) {
		t.Fatalf("%d batches, want %d", len(s.sender.calls[1]), len(want))
	}
	for i, batch := range s.sender.calls[1] {
		var data []string
		for _, o := range batch.Messages {
			data = append(data, string(s.sender.messages[o].Data))
			if got := s.sender.messages[o].App; "fw:{"+got+"}:messages:2026-01" != batch.Counter.Key {
				t.Errorf("a message of %s is counted in %s", got, batch.Counter.Key)
			}
		}
		if strings.Join(data, ",") != want[i].data || batch.Counter != want[i].counter {
			t.Errorf("batch %d: %v against %+v, want %s against %+v", i, data, batch.Counter, want[i].data, want[i].counter)
		}
	}
}

func TestOverQuota(t *testing.T) {
	s := newStanding()
	s.sender.answer = func(batches []send.Batch) error {
		for i, o := range batches[0].Messages {
			o.Accepted = i == 0
		}
		return nil
	}
	gate := s.hold()
	c := expect(4)
	a := app("app", 4711)
	s.submit(t, message(a, "0"), c.of("0"))
	<-s.sender.began
	results := make(chan Result, 1)
	s.submit(t, message(a, "1"), c.of("1"))
	s.submit(t, message(a, "2"), c.of("2"))
	s.submit(t, message(a, "3"), c.of("3"))
	go func() { results <- s.Publish(context.Background(), message(a, "4")) }()
	redistest.Eventually(t, patience, "all wait", func() bool { return s.wait() == 4 })
	close(gate)
	if got := strings.Join(c.wait(t), ","); got != "0,flush,1,2 over_message_quota,3 over_message_quota,flush,flush,flush" {
		t.Errorf("told %s", got)
	}
	r := <-results
	if r.Err == nil || r.Err.Code != protocol.OverMessageQuota || r.RetryAfter != time.Hour {
		t.Fatalf("got %v, to be tried again after %v; want over_message_quota after 1h", r.Err, r.RetryAfter)
	}
	for _, part := range []string{"4711", "2026-02-01T00:00:00Z"} {
		if !strings.Contains(r.Err.Message, part) {
			t.Errorf("the message %q does not say %s", r.Err.Message, part)
		}
	}
	if s.seen("ok") != 2 || s.seen("over_message_quota") != 3 {
		t.Errorf("observed %v", s.observed)
	}
}

// TestPlanChanges: a new apps document holds from the next round trip on.
func TestPlanChanges(t *testing.T) {
	s := newStanding()
	for _, limit := range []int64{5, 500, 0} {
		if r := s.Publish(context.Background(), message(app("app", limit), "1")); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	free := app("app", 0)
	free.Plan.OveragesAllowed, free.Plan.OveragesEnabled = true, true
	s.Publish(context.Background(), message(free, "1"))
	s.now = s.now.Add(time.Hour) // the next period
	s.Publish(context.Background(), message(app("app", 5), "1"))
	for i, want := range []string{"2026-01 5", "2026-01 500", "2026-01 0", "2026-01 -1", "2026-02 5"} {
		c := s.sender.calls[i][0].Counter
		if got := fmt.Sprintf("%s %d", strings.TrimPrefix(c.Key, "fw:{app}:messages:"), c.Limit); got != want {
			t.Errorf("message %d is counted in %s, want %s", i, got, want)
		}
	}
}
