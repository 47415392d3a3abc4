package kinesis

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/kinesis/kinesistest"
	"fleetwire/pkg/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *kinesistest.Server {
	t.Helper()
	s := kinesistest.Start(t)
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	t.Setenv("AWS_REGION", "eu-west-1")
	return s
}

func open(t *testing.T, opt Options) *Target {
	t.Helper()
	target, err := New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	target.firstPause = time.Millisecond
	return target
}

// ids are those of the records of the only shard.
func ids(s *kinesistest.Server, stream string) string {
	var all []string
	for _, r := range s.Records(stream)[0] {
		var m struct{ ID string }
		_ = json.Unmarshal(r.Data, &m)
		all = append(all, m.ID)
	}
	return strings.Join(all, " ")
}

func TestDeliverPuts(t *testing.T) {
	s := start(t)
	for _, cloudEvents := range []bool{false, true} {
		name := fmt.Sprint("events-", cloudEvents)
		s.Stream(name, 1)
		batch := sinktest.Messages(1100, "a", "b")
		if got := sinktest.Results(open(t, Options{Stream: name, CloudEvents: cloudEvents}).Deliver(t.Context(), batch)); strings.Count(got, "ok") != 1100 {
			t.Fatal(got)
		}
		for i, r := range s.Records(name)[0] {
			if want := string(sink.Payload(&batch[i], cloudEvents)); string(r.Data) != want || r.PartitionKey != batch[i].Channel {
				t.Fatalf("got  %s in %s\nwant %s", r.Data, r.PartitionKey, want)
			}
		}
	}
	if n, region := s.Requests(); n != 6 || region != "eu-west-1" {
		t.Errorf("%d requests, signed for %s; want 3 for each batch, for the region of the process", n, region)
	}
}

func TestRegionAndEndpoint(t *testing.T) {
	s := start(t)
	arn := s.Stream("events", 1)
	if got := sinktest.Results(open(t, Options{Stream: arn}).Deliver(t.Context(), sinktest.Messages(1, "a"))); got != "ok" {
		t.Error(got)
	}
	if _, region := s.Requests(); region != "eu-central-1" {
		t.Errorf("signed for %s, want the region of the ARN", region)
	}
	t.Setenv("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:1")
	if got := sinktest.Results(open(t, Options{Stream: arn, Region: "us-east-1", Endpoint: s.URL}).Deliver(t.Context(), sinktest.Messages(1, "a"))); got != "ok" {
		t.Error(got)
	}
	if _, region := s.Requests(); region != "us-east-1" {
		t.Errorf("signed for %s", region)
	}
}

func TestChannelsStayInTheirShards(t *testing.T) {
	s := start(t)
	s.Stream("events", 4)
	long := strings.Repeat("é", 257)
	target := open(t, Options{Stream: "events"})
	for range 3 {
		if got := sinktest.Results(target.Deliver(t.Context(), sinktest.Messages(40, "a", "b", "c", long, long[:512]))); strings.Count(got, "ok") != 40 {
			t.Fatal(got)
		}
	}
	where := map[string]int{}
	for shard, records := range s.Records("events") {
		for _, r := range records {
			if before, ok := where[r.PartitionKey]; ok && before != shard {
				t.Errorf("%s is in two shards", r.PartitionKey)
			}
			where[r.PartitionKey] = shard
		}
	}
	if _, ok := where[long[:512]]; len(where) != 5 || !ok {
		t.Errorf("keys %v", where)
	}
}

func TestRecordsThatFail(t *testing.T) {
	s := start(t)
	s.Stream("events", 1)
	target := open(t, Options{Stream: "events"})
	failures := 2
	s.Fail(func(r kinesistest.Record) (string, string) {
		if strings.Contains(string(r.Data), `"m2"`) && failures > 0 {
			failures--
			return "ProvisionedThroughputExceededException", "Rate exceeded for shard shardId-000000000000"
		}
		return "", ""
	})
	batch := sinktest.Messages(6, "a", "b")
	if got := sinktest.Results(target.Deliver(t.Context(), batch)); got != "ok ok ok ok ok ok" {
		t.Error(got)
	}
	// m4 is behind m2 in its channel, and comes again with it.
	if got := ids(s, "events"); got != "m0 m1 m3 m4 m5 m4 m2 m4" {
		t.Error(got)
	}
	failures = 100
	results := target.Deliver(t.Context(), batch)
	if got := sinktest.Results(results); got != "ok ok unavailable ok unavailable ok" || failures != 100-tries {
		t.Errorf("%s after %d tries", got, 100-failures)
	}
	if want := "Amazon Kinesis answered ProvisionedThroughputExceededException: Rate exceeded for shard shardId-000000000000"; results[2].Error() != want {
		t.Error(results[2])
	}
}

func TestRequestsThatFail(t *testing.T) {
	s := start(t)
	s.Stream("events", 1)
	target := open(t, Options{Stream: "events"})
	s.Throttle(2) // the SDK tries three times
	if got := sinktest.Results(target.Deliver(t.Context(), sinktest.Messages(1, "a"))); got != "ok" {
		t.Error(got)
	}
	s.Throttle(3)
	results := target.Deliver(t.Context(), sinktest.Messages(3, "a"))
	if got := sinktest.Results(results); got != "unavailable unavailable unavailable" || !strings.Contains(results[2].Error(), "LimitExceededException") {
		t.Errorf("%s, %v", got, results[2])
	}
	results = open(t, Options{Stream: "not-events"}).Deliver(t.Context(), sinktest.Messages(1, "a"))
	if got := sinktest.Results(results); got != "unavailable" || !strings.Contains(results[0].Error(), "ResourceNotFoundException: Stream not-events under account") {
		t.Errorf("%s, %v", got, results[0])
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	results = target.Deliver(ended, sinktest.Messages(1, "a"))
	if got := sinktest.Results(results); got != "unavailable" || results[0].Error() != "the delivery ended before Amazon Kinesis had answered" {
		t.Errorf("%s, %v", got, results[0])
	}
	s.Close()
	results = target.Deliver(t.Context(), sinktest.Messages(1, "a"))
	if got := sinktest.Results(results); got != "unavailable" || results[0].Error() != "Amazon Kinesis cannot be reached: dial: connect: connection refused" {
		t.Errorf("%s, %v", got, results[0])
	}
}

func TestLargeBatches(t *testing.T) {
	s := start(t)
	s.Stream("events", 1)
	batch := sinktest.Messages(20, "a")
	for i := range batch {
		batch[i].Data = json.RawMessage(`"` + strings.Repeat("x", 100<<10) + `"`)
	}
	if got := sinktest.Results(open(t, Options{Stream: "events"}).Deliver(t.Context(), batch)); strings.Count(got, "ok") != 20 {
		t.Error(got)
	}
	if n, _ := s.Requests(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestNewErrors(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	for stream, want := range map[string]string{
		"":       "stream: it is empty",
		"events": "region: none is known",
		"arn:aws:sqs:eu-central-1:123456789012:fleet-events":         "is not the ARN of a stream",
		"arn:aws:kinesis:eu-central-1:123456789012:consumer/x/y:123": "is not the ARN of a stream",
	} {
		if _, err := New(t.Context(), Options{Stream: stream}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", stream, err, want)
		}
	}
}
