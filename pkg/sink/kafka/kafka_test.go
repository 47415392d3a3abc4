package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "events"

// start starts a cluster of one broker with a topic of three partitions.
func start(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func open(t *testing.T, c *kfake.Cluster, change func(*Options)) *Target {
	t.Helper()
	opt := Options{Brokers: c.ListenAddrs(), Topic: topic}
	if change != nil {
		change(&opt)
	}
	target, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

// consume reads n records of the topic.
func consume(t *testing.T, c *kfake.Cluster, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func all(t *testing.T, results []error, n int) {
	t.Helper()
	if len(results) != n {
		t.Fatalf("%d results for %d messages", len(results), n)
	}
	for i, err := range results {
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

func unavailable(t *testing.T, results []error, want string) {
	t.Helper()
	for _, err := range results {
		sinktest.Unavailable(t, err, want)
	}
}

func TestDeliverProduces(t *testing.T) {
	for _, cloudEvents := range []bool{false, true} {
		t.Run(fmt.Sprint(cloudEvents), func(t *testing.T) {
			c := start(t)
			batch := sinktest.Messages(2, "devices/1/events")
			all(t, open(t, c, func(o *Options) { o.CloudEvents = cloudEvents }).Deliver(t.Context(), batch), 2)
			for i, r := range consume(t, c, 2) {
				wantType := map[bool]string{false: "application/json", true: "application/cloudevents+json"}[cloudEvents]
				headers := map[string]string{}
				for _, h := range r.Headers {
					headers[h.Key] = string(h.Value)
				}
				want := map[string]string{"content-type": wantType, "id": batch[i].ID, "app": "app_demo", "group": "crm", "from": "device-1", "attempt": "1"}
				if string(r.Key) != "devices/1/events" || string(r.Value) != string(sink.Payload(&batch[i], cloudEvents)) || fmt.Sprint(headers) != fmt.Sprint(want) {
					t.Errorf("key %s, value %s, headers %v", r.Key, r.Value, headers)
				}
			}
		})
	}
}

// A channel is in one partition, in order, whatever comes at the same time.
func TestOrder(t *testing.T) {
	c := start(t)
	target := open(t, c, nil)
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			channel := fmt.Sprint("devices/", worker)
			for i := range 10 {
				batch := sinktest.Messages(20, channel)
				for j := range batch {
					batch[j].ID = fmt.Sprint(20*i + j)
				}
				for _, err := range target.Deliver(t.Context(), batch) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	workers.Wait()
	next, partitions := map[string]int{}, map[string]int32{}
	for _, r := range consume(t, c, 800) {
		channel := string(r.Key)
		if p, ok := partitions[channel]; ok && p != r.Partition {
			t.Fatalf("%s is in two partitions", channel)
		}
		partitions[channel] = r.Partition
		if id := string(r.Headers[1].Value); id != fmt.Sprint(next[channel]) {
			t.Fatalf("%s: %s, want %d", channel, id, next[channel])
		}
		next[channel]++
	}
}

// It is asked for the acknowledgement of all replicas, by an idempotent producer.
func TestAcks(t *testing.T) {
	c := start(t)
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		produce := r.(*kmsg.ProduceRequest)
		records := produce.Topics[0].Partitions[0].Records
		var b kmsg.RecordBatch
		if err := b.ReadFrom(records); err != nil || produce.Acks != -1 || b.ProducerID < 0 || b.FirstSequence != 0 {
			t.Errorf("acks %d, producer %d, sequence %d, %v", produce.Acks, b.ProducerID, b.FirstSequence, err)
		}
		return nil, nil, false
	})
	all(t, open(t, c, nil).Deliver(t.Context(), sinktest.Messages(1, "a")), 1)
}

// answer has the next produce request fail with an error for each partition.
func answer(c *kfake.Cluster, code error) {
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		response := r.ResponseKind().(*kmsg.ProduceResponse)
		response.SetVersion(r.GetVersion())
		for _, rt := range r.(*kmsg.ProduceRequest).Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, code.(*kerr.Error).Code
				st.Partitions = append(st.Partitions, sp)
			}
			response.Topics = append(response.Topics, st)
		}
		return response, nil, true
	})
}

func TestErrorsOfBrokers(t *testing.T) {
	c := start(t)
	target := open(t, c, nil)
	for _, code := range []error{kerr.MessageTooLarge, kerr.InvalidRecord} {
		answer(c, code)
		for _, err := range target.Deliver(t.Context(), sinktest.Messages(2, "a")) {
			var r *sink.Refused
			if !errors.As(err, &r) || !strings.Contains(r.Reason, code.(*kerr.Error).Message) {
				t.Errorf("%v: %T %v; want refused", code, err, err)
			}
		}
	}
	answer(c, kerr.TopicAuthorizationFailed)
	unavailable(t, target.Deliver(t.Context(), sinktest.Messages(2, "a")), "TOPIC_AUTHORIZATION_FAILED")
	answer(c, kerr.NotLeaderForPartition) // the client tries again by itself
	all(t, target.Deliver(t.Context(), sinktest.Messages(2, "a")), 2)
}

func TestUnknownTopic(t *testing.T) {
	c := start(t)
	target := open(t, c, func(o *Options) { o.Topic = "no-such-topic" })
	target.patience = 5 * time.Second
	unavailable(t, target.Deliver(t.Context(), sinktest.Messages(1, "a")), "UNKNOWN_TOPIC_OR_PARTITION")
}

func TestBrokersAway(t *testing.T) {
	c := start(t)
	target := open(t, c, nil)
	target.patience = 300 * time.Millisecond
	c.Close()
	unavailable(t, target.Deliver(t.Context(), sinktest.Messages(2, "a", "b")), "connection refused")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	unavailable(t, target.Deliver(ended, sinktest.Messages(2, "a", "b")), "the delivery ended before")
}

// A record whose answer does not come is given up with the delivery, and does not come between
// later ones when it is delivered again.
func TestBrokerThatHangs(t *testing.T) {
	c := start(t)
	target := open(t, c, nil)
	target.patience = 300 * time.Millisecond
	woken := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-woken })
		return nil, errors.New("the connection ends"), true
	})
	unavailable(t, target.Deliver(t.Context(), sinktest.Messages(3, "a")), "within 300ms")
	close(woken)
	target.patience = patience
	all(t, target.Deliver(t.Context(), sinktest.Messages(3, "a")), 3)
	for i, r := range consume(t, c, 3) {
		if id := string(r.Headers[1].Value); id != fmt.Sprint("m", i) {
			t.Errorf("record %d is %s", i, id)
		}
	}
}

func TestSecured(t *testing.T) {
	authority := redistest.NewAuthority(t)
	cert, key := authority.Issue(nil)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			c := start(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}),
				kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), "fleetwire", "5ec4e7-password"))
			secured := func(o *Options) {
				o.TLS, o.CAFile, o.Mechanism, o.Username, o.Password = true, authority.File, mechanism, "fleetwire", "5ec4e7-password"
			}
			all(t, open(t, c, secured).Deliver(t.Context(), sinktest.Messages(2, "a")), 2)

			wrong := open(t, c, func(o *Options) { secured(o); o.Password = "5ec4e7-other" })
			wrong.patience = 200 * time.Millisecond
			results := wrong.Deliver(t.Context(), sinktest.Messages(1, "a"))
			unavailable(t, results, "check tls, and sasl with")
			if strings.Contains(results[0].Error(), "5ec4e7") {
				t.Errorf("it shows a password: %v", results[0])
			}
			unknown := open(t, c, func(o *Options) { secured(o); o.CAFile = "" })
			unknown.patience = 200 * time.Millisecond
			unavailable(t, unknown.Deliver(t.Context(), sinktest.Messages(1, "a")), "certificate signed by unknown authority")
		})
	}
}

func TestNewErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		opt  Options
		want string
	}{
		"mechanism":  {Options{Brokers: []string{"b:9092"}, Topic: "t", Mechanism: "kerberos", Password: "5ec4e7"}, `sasl.mechanism: "kerberos" is not a mechanism`},
		"no CA":      {Options{Brokers: []string{"b:9092"}, Topic: "t", TLS: true, CAFile: "/no/such.pem"}, `caFile: "/no/such.pem" cannot be read: no such file`},
		"CA":         {Options{Brokers: []string{"b:9092"}, Topic: "t", TLS: true, CAFile: "kafka.go"}, `caFile: "kafka.go" has no certificate`},
		"endless CA": {Options{Brokers: []string{"b:9092"}, Topic: "t", TLS: true, CAFile: "/dev/zero"}, `caFile: "/dev/zero" is not a regular file of at most 1048576 bytes`},
		"no brokers": {Options{Topic: "t", Password: "5ec4e7"}, "brokers"},
		"bad broker": {Options{Brokers: []string{"b:x"}, Topic: "t"}, "kafka: "},
	} {
		if _, err := New(tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "5ec4e7") {
			t.Errorf("%s: error %v, want one with %q and no password", name, err, tt.want)
		}
	}
}
