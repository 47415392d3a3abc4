package apps

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
)

// Sink is where the messages of a group are delivered to (protocol §10.4). One of the pointers is
// not nil, the one that Type names.
type Sink struct {
	Type SinkType
	// CloudEvents has messages delivered as CloudEvents 1.0 in JSON.
	CloudEvents bool
	MaxMessages int // in a batch, 1 to 500
	Concurrency int // batches under way from one node, 1 to 64

	Webhook     *WebhookSink
	Kafka       *KafkaSink
	SQS         *SQSSink
	Kinesis     *KinesisSink
	RedisStream *RedisStreamSink
}

// SinkType is a kind of target.
type SinkType string

// The types.
const (
	SinkWebhook     SinkType = "webhook"
	SinkKafka       SinkType = "kafka"
	SinkSQS         SinkType = "sqs"
	SinkKinesis     SinkType = "kinesis"
	SinkRedisStream SinkType = "redis_stream"
)

// WebhookSink posts batches to a URL, signed as Standard Webhooks has it.
type WebhookSink struct {
	URL             string
	Secrets         []Secret // whsec_…, the newest first, 1 to 5
	FollowRedirects bool
}

// KafkaSink produces to a topic.
type KafkaSink struct {
	Brokers   []string // host:port
	Topic     string
	TLS       bool
	CAFile    string // "": the system's
	Mechanism string // "", "plain", "scram-sha-256" or "scram-sha-512"
	Username  string
	Password  Secret
}

// SQSSink sends to a queue of Amazon SQS.
type SQSSink struct {
	QueueURL string
	Region   string // "": that of the process
	Endpoint string // "": that of AWS
}

// KinesisSink puts records to a stream of Amazon Kinesis.
type KinesisSink struct {
	Stream   string // name or ARN
	Region   string // "": that of the process
	Endpoint string // "": that of AWS
}

// RedisStreamSink appends to a stream of another Redis.
type RedisStreamSink struct {
	URL    Secret // as -redis takes it
	Stream string
	MaxLen int64 // about so many entries are kept; 0: all
}

// String says which type the sink has: printing a Sink must not print secrets, as fmt does behind
// pointers. The receivers here are values, so that it holds for a Sink and a *Sink alike.
func (s Sink) String() string { return "a sink of the type " + string(s.Type) }

// GoString keeps secrets out of %#v.
func (s Sink) GoString() string { return "apps.Sink(" + string(s.Type) + ")" }

// Equal tells whether two documents say the same of a sink; nil: the group has none.
func (s *Sink) Equal(other *Sink) bool { return reflect.DeepEqual(s, other) }

// Secrets are the sink's secrets, as the document has them.
func (s *Sink) Secrets() []Secret {
	switch {
	case s.Webhook != nil:
		return s.Webhook.Secrets
	case s.Kafka != nil && s.Kafka.Password != "":
		return []Secret{s.Kafka.Password}
	case s.RedisStream != nil:
		return []Secret{s.RedisStream.URL}
	}
	return nil
}

const (
	digestBytes       = 8
	secretDigestBytes = 2
)

// Digest is another for each other sink, for Redis to remember which one it has a state of. Of
// secrets it has two bytes, which tell that they have changed, and too little to find them.
func (s *Sink) Digest() string {
	text, err := json.Marshal(s) // Secret marshals without the secret
	if err != nil {
		panic("apps: " + err.Error()) // plain strings and numbers always marshal
	}
	var secrets strings.Builder
	for _, secret := range s.Secrets() {
		secrets.WriteString(string(secret) + "\x00")
	}
	whole, secret := sha256.Sum256(text), sha256.Sum256([]byte(secrets.String()))
	return hex.EncodeToString(append(whole[:digestBytes], secret[:secretDigestBytes]...))
}
