package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/sink/kinesis/kinesistest"
	"fleetwire/pkg/sink/sqs/sqstest"
)

// readEvents reads messages that a target was given in the format message, and events of CloudEvents.
func readEvents(t *testing.T, texts []string) (events []event) {
	t.Helper()
	for _, text := range texts {
		var m struct {
			event
			SpecVersion, Subject string
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if m.SpecVersion != "" {
			m.Channel = m.Subject
		}
		events = append(events, m.event)
	}
	return events
}

// One message reaches the target of each group that it matches: Kafka, SQS, Kinesis and another Redis.
func TestSinksOfAllTypes(t *testing.T) {
	const each = 40
	queues, streams := sqstest.Start(t), kinesistest.Start(t)
	for _, environment := range []map[string]string{queues.Environment(), streams.Environment()} {
		for name, value := range environment {
			t.Setenv(name, value)
		}
	}
	t.Setenv("AWS_REGION", "eu-central-1")
	queue := queues.Queue("events.fifo", 1<<20)
	streams.Stream("events", 1)
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	other := redistest.Start(t)
	stream := other.Client()
	t.Setenv("OTHER_REDIS", other.URL())

	key := newKey("sinks", "**")
	app := newApp("app_sinks", key)
	for name, sink := range map[string]map[string]any{
		"kafka":   {"type": "kafka", "brokers": kafka.ListenAddrs(), "topic": "events"},
		"sqs":     {"type": "sqs", "queueUrl": queue},
		"kinesis": {"type": "kinesis", "stream": "events", "format": "cloudevents"},
		"redis":   {"type": "redis_stream", "url": "env:OTHER_REDIS", "stream": "events", "maxLen": 1000},
	} {
		app.Groups = append(app.Groups, groupDoc{Name: name, Patterns: []string{"devices/*/events"}, MaxBytes: 1 << 20, Sink: sink})
	}
	s := startWithSinks(t, app)
	device := s.first().connect(t, key.token("cam", nil))
	for i := range each {
		device.publish("devices/1/events", fmt.Sprint(i))
		s.last().publish(t, key, "devices/2/events", fmt.Sprint(i))
	}
	want := map[string]int{"devices/1/events": each, "devices/2/events": each}

	inOrder(t, readEvents(t, consume(t, kafka, 2*each)), want)
	for what, read := range map[string]func() []string{
		"SQS": func() (texts []string) {
			for _, m := range queues.Messages(queue) {
				texts = append(texts, m.Body)
			}
			return texts
		},
		"Kinesis": func() (texts []string) {
			for _, r := range streams.Records("events")[0] {
				texts = append(texts, string(r.Data))
			}
			return texts
		},
		"Redis": func() (texts []string) {
			for _, e := range stream.XRange(t.Context(), "events", "-", "+").Val() {
				texts = append(texts, fmt.Sprintf(`{"id":%q,"channel":%q,"from":%q,"data":%s}`, e.Values["id"], e.Values["channel"], e.Values["from"], e.Values["data"]))
			}
			return texts
		},
	} {
		eventually(t, what+" has all", patience, func() bool { return len(read()) >= 2*each })
		inOrder(t, readEvents(t, read()), want)
	}
	for _, g := range app.Groups {
		eventually(t, g.Name+" has nothing that waits", patience, func() bool {
			a, err := s.last().call("GET", "/v1/groups/"+g.Name, key.credential(), "")
			var state sinkState
			return err == nil && json.Unmarshal([]byte(a.body), &state) == nil && state.Lag+state.Pending == 0 && state.Sink.State == "ok"
		})
	}
}

// consume reads the values of n records of the topic events.
func consume(t *testing.T, c *kfake.Cluster, n int) (values []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(values) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", len(values), n, err)
		}
		for _, r := range fetches.Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}
