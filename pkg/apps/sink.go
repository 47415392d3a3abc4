package apps

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

// Secret is a secret of a sink: itself, or where it lies: env:NAME, file:/PATH, or the ARN of a
// secret of AWS Secrets Manager. It must not be logged.
type Secret string

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
