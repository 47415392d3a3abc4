// Package kafka is the target of sinks that produces to a topic of Kafka (protocol §10.4).
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"fleetwire/pkg/sink"
)

const (
	// patience bounds how long records may wait for their brokers, and asking how long it may
	// take to learn why they do not answer: together less than a delivery may take.
	patience = 10 * time.Second
	asking   = 2 * time.Second
	// maxCA is longer than any file of certificates is.
	maxCA = 1 << 20
)

// Options set a Target up.
type Options struct {
	Brokers     []string // host:port
	Topic       string
	TLS         bool
	CAFile      string // PEM; "": the system's
	Mechanism   string // "": none; "plain", "scram-sha-256" or "scram-sha-512"
	Username    string
	Password    string
	CloudEvents bool
}

// Target produces to a topic.
type Target struct {
	client      *kgo.Client
	cloudEvents bool
	contentType []byte
	patience    time.Duration // tests set it
}

// New checks the options, and reads CAFile. It does not connect. No error shows the password.
func New(opt Options) (*Target, error) {
	t := &Target{cloudEvents: opt.CloudEvents, contentType: []byte("application/json"), patience: patience}
	if opt.CloudEvents {
		t.contentType = []byte("application/cloudevents+json")
	}
	settings := []kgo.Opt{
		kgo.ClientID("fleetwire"),
		kgo.SeedBrokers(opt.Brokers...),
		kgo.DefaultProduceTopic(opt.Topic),
		// The client is idempotent and waits for all in-sync replicas, unless it is told otherwise.
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), // a batch is whole when it comes here
		// A batch that is given up is delivered anew, at least once.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.MetadataMinAge(time.Second), // a partition whose leader has moved is found sooner
		kgo.DialTimeout(5 * time.Second),
	}
	if opt.TLS {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if opt.CAFile != "" {
			pool, err := readCA(opt.CAFile)
			if err != nil {
				return nil, fmt.Errorf("caFile: %w", err)
			}
			config.RootCAs = pool
		}
		settings = append(settings, kgo.DialTLSConfig(config))
	}
	if opt.Mechanism != "" {
		mechanism, err := authentication(opt)
		if err != nil {
			return nil, err
		}
		settings = append(settings, kgo.SASL(mechanism))
	}
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	t.client = client
	return t, nil
}

func readCA(path string) (*x509.CertPool, error) {
	// Reading a device could take all memory, and opening a pipe would wait for its writer.
	if info, err := os.Stat(path); err == nil && !info.IsDir() && (!info.Mode().IsRegular() || info.Size() > maxCA) {
		return nil, fmt.Errorf("%q is not a regular file of at most %d bytes; give a PEM file", path, maxCA)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		if ofPath, ok := errors.AsType[*fs.PathError](err); ok {
			err = ofPath.Err
		}
		return nil, fmt.Errorf("%q cannot be read: %w; give a PEM file", path, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%q has no certificate that can be read; give a PEM file with the certificate of the brokers' CA", path)
	}
	return pool, nil
}

func authentication(opt Options) (sasl.Mechanism, error) {
	switch opt.Mechanism {
	case "plain":
		return plain.Auth{User: opt.Username, Pass: opt.Password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: opt.Username, Pass: opt.Password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: opt.Username, Pass: opt.Password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("sasl.mechanism: %q is not a mechanism; give plain, scram-sha-256 or scram-sha-512", opt.Mechanism)
}

// Deliver produces a record for each message (sink.Target). The key is the channel, so that the
// messages of a channel are in one partition, in order.
func (t *Target) Deliver(parent context.Context, batch []sink.Message) []error {
	ctx, cancel := context.WithTimeout(parent, t.patience)
	defer cancel()
	results := make([]error, len(batch))
	var all sync.WaitGroup
	all.Add(len(batch))
	for i := range batch {
		t.client.Produce(ctx, t.record(&batch[i]), func(_ *kgo.Record, err error) {
			results[i] = err
			all.Done()
		})
	}
	all.Wait() // each ends with ctx at the latest
	t.explain(parent, results)
	sink.KeepOrder(batch, results)
	return results
}

func (t *Target) record(m *sink.Message) *kgo.Record {
	return &kgo.Record{
		Key:   []byte(m.Channel),
		Value: sink.Payload(m, t.cloudEvents),
		Headers: []kgo.RecordHeader{
			{Key: "content-type", Value: t.contentType},
			{Key: "id", Value: []byte(m.ID)},
			{Key: "app", Value: []byte(m.App)},
			{Key: "group", Value: []byte(m.Group)},
			{Key: "from", Value: []byte(m.From)},
			{Key: "attempt", Value: strconv.AppendInt(nil, int64(m.Attempt), 10)},
		},
	}
}

// explain makes results of the client's errors.
func (t *Target) explain(ctx context.Context, results []error) {
	var away error // the same for all that were given up
	for i, err := range results {
		switch {
		case err == nil:
		case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.InvalidRecord):
			results[i] = &sink.Refused{Reason: "Kafka refused the record: " + err.Error()}
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			if away == nil {
				away = &sink.Unavailable{Reason: t.whyAway(ctx)}
			}
			results[i] = away
		default:
			results[i] = &sink.Unavailable{Reason: "Kafka did not take the record: " + err.Error()}
		}
	}
}

// whyAway asks the brokers, since a record that was given up does not tell.
func (t *Target) whyAway(ctx context.Context) string {
	if ctx.Err() != nil {
		return "the delivery ended before Kafka had answered"
	}
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	err := t.client.Ping(ctx)
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, io.EOF):
		return "a broker of Kafka closed the connection; check tls, and sasl with its user name and password"
	default:
		return "no broker of Kafka can be reached: " + err.Error()
	}
	return fmt.Sprintf("Kafka did not take the records within %s", t.patience)
}

// Close closes the connections.
func (t *Target) Close() error {
	t.client.Close()
	return nil
}
