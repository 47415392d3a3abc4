package sqs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/sinktest"
	"fleetwire/pkg/sink/sqs"
	"fleetwire/pkg/sink/sqs/sqstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

func start(t *testing.T) *sqstest.Server {
	t.Helper()
	s := sqstest.Start(t)
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	return s
}

func open(t *testing.T, opt sqs.Options) *sqs.Target {
	t.Helper()
	target, err := sqs.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

// ids are those of the messages that a queue has.
func ids(s *sqstest.Server, url string) string {
	var all []string
	for _, e := range s.Messages(url) {
		var m struct{ ID string }
		_ = json.Unmarshal([]byte(e.Body), &m)
		all = append(all, m.ID)
	}
	return strings.Join(all, " ")
}

func TestDeliverSends(t *testing.T) {
	s := start(t)
	for _, cloudEvents := range []bool{false, true} {
		url := s.Queue(fmt.Sprint("events-", cloudEvents), mib)
		batch := sinktest.Messages(25, "a", "b")
		for _, err := range open(t, sqs.Options{QueueURL: url, CloudEvents: cloudEvents}).Deliver(t.Context(), batch) {
			if err != nil {
				t.Error(err)
			}
		}
		got := s.Messages(url)
		if len(got) != 25 {
			t.Fatalf("%d messages", len(got))
		}
		for i, e := range got {
			if want := string(sink.Payload(&batch[i], cloudEvents)); e.Body != want || e.GroupID != "" || e.DeduplicationID != "" {
				t.Errorf("got  %+v\nwant %s", e, want)
			}
		}
	}
	if n, region := s.Requests(); n != 6 || region != "eu-central-1" {
		t.Errorf("%d requests, signed for %s; want 3 for each batch, for the region of the URL", n, region)
	}
}

func TestRegionAndEndpoint(t *testing.T) {
	s := start(t)
	url := s.Queue("events", mib)
	t.Setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
	if got := sinktest.Results(open(t, sqs.Options{QueueURL: url, Region: "us-east-1", Endpoint: s.URL}).Deliver(t.Context(), sinktest.Messages(1, "a"))); got != "ok" {
		t.Error(got)
	}
	if _, region := s.Requests(); region != "us-east-1" {
		t.Errorf("signed for %s", region)
	}
}

// An answer that leaves a message out does not say that the queue has it.
func TestAnswersThatLeaveMessagesOut(t *testing.T) {
	s := start(t)
	url := s.Queue("events", mib)
	short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, `{"Successful":[{"Id":"1","MessageId":"m"}],"Failed":[{"Id":"2","Code":"InvalidParameterValue","SenderFault":true}]}`)
	}))
	defer short.Close()
	if got := sinktest.Results(open(t, sqs.Options{QueueURL: url, Endpoint: short.URL}).Deliver(t.Context(), sinktest.Messages(3, "a"))); got != "unavailable ok refused" {
		t.Error(got)
	}
}

// Requests are within what each queue takes.
func TestLargeMessages(t *testing.T) {
	s := start(t)
	url := s.Queue("events", 256<<10)
	target := open(t, sqs.Options{QueueURL: url})
	batch := sinktest.Messages(12, "a")
	for i := range batch {
		batch[i].Data = json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`)
	}
	if got := sinktest.Results(target.Deliver(t.Context(), batch)); strings.Contains(got, " u") || strings.Contains(got, "r") {
		t.Error(got)
	}
	if n, _ := s.Requests(); n != 4 || len(s.Messages(url)) != 12 {
		t.Errorf("%d requests, %d messages", n, len(s.Messages(url)))
	}
	small := s.Queue("small", 1<<10)
	if got := sinktest.Results(open(t, sqs.Options{QueueURL: small}).Deliver(t.Context(), batch[:1])); got != "refused" {
		t.Errorf("a message that the queue does not take: %s", got)
	}
	// All of a request are refused for one, and come again alone.
	mixed := append(sinktest.Messages(2, "a"), batch[2])
	if got := sinktest.Results(open(t, sqs.Options{QueueURL: small}).Deliver(t.Context(), mixed)); got != "refused refused refused" {
		t.Error(got)
	}
}

func TestCharactersThatSQSRefuses(t *testing.T) {
	s := start(t)
	url := s.Queue("events", mib)
	batch := sinktest.Messages(1, "a")
	batch[0].Data = json.RawMessage("\"\uFFFE\uFFFF\u007f€\U0001F4A1\\u0000\"")
	if got := sinktest.Results(open(t, sqs.Options{QueueURL: url}).Deliver(t.Context(), batch)); got != "ok" {
		t.Fatal(got)
	}
	var m struct{ Data string }
	if err := json.Unmarshal([]byte(s.Messages(url)[0].Body), &m); err != nil || m.Data != "\uFFFE\uFFFF\u007f€\U0001F4A1\x00" {
		t.Errorf("%q, %v", m.Data, err)
	}
}

func TestMessagesThatFail(t *testing.T) {
	s := start(t)
	url := s.Queue("events", mib)
	s.Fail(func(e sqstest.Entry) *sqstest.Failure {
		switch {
		case strings.Contains(e.Body, `"m1"`):
			return &sqstest.Failure{Code: "InvalidParameterValue", Message: "no", SenderFault: true}
		case strings.Contains(e.Body, `"m2"`):
			return &sqstest.Failure{Code: "InternalError", Message: "later"}
		case strings.Contains(e.Body, `"m3"`):
			return &sqstest.Failure{Code: "KMS.ThrottlingException", Message: "later", SenderFault: true}
		}
		return nil
	})
	results := open(t, sqs.Options{QueueURL: url}).Deliver(t.Context(), sinktest.Messages(5, "a"))
	if got := sinktest.Results(results); got != "ok refused unavailable unavailable ok" {
		t.Error(got)
	}
	if results[1].Error() != "Amazon SQS answered InvalidParameterValue: no" {
		t.Error(results[1])
	}
}

func TestFIFO(t *testing.T) {
	s := start(t)
	url := s.Queue("events.fifo", mib)
	target := open(t, sqs.Options{QueueURL: url})
	batch := sinktest.Messages(30, "a", "b", "c", "with space", strings.Repeat("é", 100))
	if got := sinktest.Results(target.Deliver(t.Context(), batch)); strings.Count(got, "ok") != 30 {
		t.Fatal(got)
	}
	next := map[string]int{}
	for _, e := range s.Messages(url) {
		var m struct {
			ID      string
			Channel string
			Data    int
		}
		_ = json.Unmarshal([]byte(e.Body), &m)
		if m.Data < next[m.Channel] || e.DeduplicationID != m.ID {
			t.Errorf("%+v", e)
		}
		next[m.Channel] = m.Data
		if ascii := m.Channel == "a" || m.Channel == "b" || m.Channel == "c"; ascii != (e.GroupID == m.Channel) || !ascii && !strings.HasPrefix(e.GroupID, "sha256:") {
			t.Errorf("the group of %q is %s", m.Channel, e.GroupID)
		}
	}
	if got := sinktest.Results(target.Deliver(t.Context(), batch[:3])); got != "ok ok ok" || len(s.Messages(url)) != 30 {
		t.Errorf("again: %s, %d messages", got, len(s.Messages(url)))
	}
}

// Messages that come again after a failure must still be in order, though SQS drops those that it has.
func TestFIFOKeepsOrderAfterFailures(t *testing.T) {
	s := start(t)
	url := s.Queue("events.fifo", mib)
	target := open(t, sqs.Options{QueueURL: url})
	s.Fail(func(e sqstest.Entry) *sqstest.Failure {
		switch {
		case strings.Contains(e.Body, `"m2"`):
			return &sqstest.Failure{Code: "InternalError", Message: "later"}
		case strings.Contains(e.Body, `"m1"`):
			return &sqstest.Failure{Code: "InvalidParameterValue", Message: "no", SenderFault: true}
		}
		return nil
	})
	batch := sinktest.Messages(6, "a", "b")
	if got := sinktest.Results(target.Deliver(t.Context(), batch)); got != "ok refused unavailable ok unavailable ok" {
		t.Error(got)
	}
	s.Fail(nil)
	if got := sinktest.Results(target.Deliver(t.Context(), batch)); got != "ok ok ok ok ok ok" {
		t.Error(got)
	}
	if got := ids(s, url); got != "m0 m3 m5 m1 m2 m4" {
		t.Errorf("got %s; want a's in order, and b's but for the refused one", got)
	}
}

func TestRequestsThatFail(t *testing.T) {
	s := start(t)
	url := s.Queue("events", mib)
	target := open(t, sqs.Options{QueueURL: url})
	s.Throttle(2) // the SDK tries three times
	if got := sinktest.Results(target.Deliver(t.Context(), sinktest.Messages(1, "a"))); got != "ok" {
		t.Error(got)
	}
	before, _ := s.Requests()
	s.Throttle(3)
	results := target.Deliver(t.Context(), sinktest.Messages(30, "a"))
	if got := sinktest.Results(results); strings.Count(got, "unavailable") != 30 || !strings.Contains(results[29].Error(), "RequestThrottled") {
		t.Errorf("%s, %v", got, results[29])
	}
	if n, _ := s.Requests(); n != before+3 {
		t.Errorf("%d requests although the first failed", n-before)
	}
	results = open(t, sqs.Options{QueueURL: url + "-not"}).Deliver(t.Context(), sinktest.Messages(1, "a"))
	if got := sinktest.Results(results); got != "unavailable" || !strings.Contains(results[0].Error(), "QueueDoesNotExist: The specified queue does not exist.") {
		t.Errorf("%s, %v", got, results[0])
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	results = target.Deliver(ended, sinktest.Messages(1, "a"))
	if got := sinktest.Results(results); got != "unavailable" || results[0].Error() != "the delivery ended before Amazon SQS had answered" {
		t.Errorf("%s, %v", got, results[0])
	}
	s.Close()
	results = target.Deliver(t.Context(), sinktest.Messages(1, "a"))
	if got := sinktest.Results(results); got != "unavailable" || results[0].Error() != "Amazon SQS cannot be reached: dial: connect: connection refused" {
		t.Errorf("%s, %v", got, results[0])
	}
}

func TestNewErrors(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	for url, want := range map[string]string{
		"":             "queueUrl: it is not the URL of a queue",
		"fleet-events": "queueUrl: it is not the URL of a queue",
		"arn:aws:sqs:eu-central-1:123456789012:fleet-events": "queueUrl: it is not the URL of a queue",
		"https://queues.example.com/1/fleet-events":          "region: none is known",
	} {
		if _, err := sqs.New(t.Context(), sqs.Options{QueueURL: url}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", url, err, want)
		}
	}
}
