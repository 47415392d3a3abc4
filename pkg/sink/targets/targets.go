// Package targets makes the target of each type of sink. Nodes alone link it.
package targets

import (
	"context"
	"fmt"
	"net/netip"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/awssecret"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/kafka"
	"fleetwire/pkg/sink/kinesis"
	"fleetwire/pkg/sink/redisstream"
	"fleetwire/pkg/sink/sqs"
	"fleetwire/pkg/sink/webhook"
)

// Factory makes targets (sink.Maker). Its zero value is ready.
type Factory struct {
	// Networks are those that webhooks may reach although they are not public.
	Networks []netip.Prefix

	secrets awssecret.Source
}

// New makes the target of a sink whose secrets are their values (Resolve). It connects to nothing
// but, for a second at most, to a Redis. No error shows a secret.
func (f *Factory) New(ctx context.Context, s *apps.Sink) (sink.Target, error) {
	target, err := f.open(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("the sink cannot be opened: %w", err)
	}
	return target, nil
}

func (f *Factory) open(ctx context.Context, s *apps.Sink) (sink.Target, error) {
	switch s.Type {
	case apps.SinkWebhook:
		w := s.Webhook
		var secrets []string
		for _, secret := range w.Secrets {
			secrets = append(secrets, string(secret))
		}
		return some(webhook.New(webhook.Options{URL: w.URL, Secrets: secrets, FollowRedirects: w.FollowRedirects, CloudEvents: s.CloudEvents, Networks: f.Networks}))
	case apps.SinkKafka:
		k := s.Kafka
		return some(kafka.New(kafka.Options{
			Brokers: k.Brokers, Topic: k.Topic, TLS: k.TLS, CAFile: k.CAFile,
			Mechanism: k.Mechanism, Username: k.Username, Password: string(k.Password), CloudEvents: s.CloudEvents,
		}))
	case apps.SinkSQS:
		q := s.SQS
		return some(sqs.New(ctx, sqs.Options{QueueURL: q.QueueURL, Region: q.Region, Endpoint: q.Endpoint, CloudEvents: s.CloudEvents}))
	case apps.SinkKinesis:
		k := s.Kinesis
		return some(kinesis.New(ctx, kinesis.Options{Stream: k.Stream, Region: k.Region, Endpoint: k.Endpoint, CloudEvents: s.CloudEvents}))
	case apps.SinkRedisStream:
		r := s.RedisStream
		return some(redisstream.New(redisstream.Options{URL: string(r.URL), Stream: r.Stream, MaxLen: r.MaxLen, CloudEvents: s.CloudEvents}))
	}
	return nil, fmt.Errorf("type: %q is not a type of sink", s.Type)
}

// some keeps a nil pointer from becoming a Target.
func some[T sink.Target](target T, err error) (sink.Target, error) {
	if err != nil {
		return nil, err
	}
	return target, nil
}
