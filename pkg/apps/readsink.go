package apps

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxSinkMessages     = 500
	maxSinkConcurrency  = 64
	maxSinkURLBytes     = 2048
	maxWebhookSecrets   = 5
	maxBrokers          = 20
	maxTopicBytes       = 249
	maxKinesisNameBytes = 128
	maxStreamBytes      = 512
	// minSinkAckTimeout is how long the leases of a group with a sink last at least. A delivery
	// may take half of it.
	minSinkAckTimeout = 30 * time.Second
)

// sinkFields are the fields that sinks of all types have.
var sinkFields = []string{"type", "format", "maxMessages", "concurrency"}

// sinkTypes has of each type its own fields, and how they are read.
var sinkTypes = []struct {
	name   SinkType
	fields []string
	read   func(object, *Sink)
}{
	{SinkWebhook, []string{"url", "secrets", "followRedirects"}, readWebhook},
	{SinkKafka, []string{"brokers", "topic", "tls", "caFile", "sasl"}, readKafka},
	{SinkSQS, []string{"queueUrl", "region", "endpoint"}, readSQS},
	{SinkKinesis, []string{"stream", "region", "endpoint"}, readKinesis},
	{SinkRedisStream, []string{"url", "stream", "maxLen"}, readRedisStream},
}

func readSink(v value) *Sink {
	known := slices.Clone(sinkFields)
	for _, t := range sinkTypes {
		for _, name := range t.fields {
			if !slices.Contains(known, name) {
				known = append(known, name)
			}
		}
	}
	o, ok := v.object(known...)
	if !ok {
		return nil
	}
	s := &Sink{MaxMessages: 100, Concurrency: 4}
	if format, ok := o.get("format"); ok {
		text, ok := format.text()
		if ok && text != "message" && text != "cloudevents" {
			format.addf(`must be "message" or "cloudevents"`)
		}
		s.CloudEvents = text == "cloudevents"
	}
	if most, ok := o.get("maxMessages"); ok {
		n, _ := most.whole(1, maxSinkMessages)
		s.MaxMessages = int(n)
	}
	if at, ok := o.get("concurrency"); ok {
		n, _ := at.whole(1, maxSinkConcurrency)
		s.Concurrency = int(n)
	}
	const types = "webhook, kafka, sqs, kinesis or redis_stream"
	name, ok := o.need("type", "a sink needs a type: "+types)
	if !ok {
		return s
	}
	text, ok := name.text()
	if !ok {
		return s
	}
	for _, t := range sinkTypes {
		if string(t.name) != text {
			continue
		}
		s.Type = t.name
		own := append(slices.Clone(sinkFields), t.fields...)
		for _, field := range known {
			if _, given := o.fields[field]; given && !slices.Contains(own, field) {
				o.at(field).addf("a sink of the type %s has no such field; known here: %s", t.name, strings.Join(own, ", "))
			}
		}
		t.read(o, s)
		return s
	}
	name.addf("must be %s", types)
	return s
}

func readWebhook(o object, s *Sink) {
	w := &WebhookSink{}
	s.Webhook = w
	if v, ok := o.need("url", "where the messages are posted to, such as https://crm.example.com/fleetwire"); ok {
		w.URL = readURL(v, "https://crm.example.com/fleetwire")
	}
	if v, ok := o.need("secrets", "an array of 1 to 5 secrets that sign what is posted"); ok {
		list, ok := v.atMost(maxWebhookSecrets, "secrets")
		if ok && len(list) == 0 {
			v.addf("must have at least one secret; %s", wantWebhookSecret)
		}
		for _, item := range list {
			w.Secrets = append(w.Secrets, readSecret(item, func(text string) error { _, err := WebhookKey(text); return err }))
		}
	}
	if v, ok := o.get("followRedirects"); ok {
		w.FollowRedirects, _ = v.boolean()
	}
}

// readURL reads a URL of HTTP. Errors do not show it: it may hold a token.
func readURL(v value, example string) string {
	text, ok := v.text()
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case len(text) > maxSinkURLBytes:
		v.addf("has %d bytes; at most %d are allowed", len(text), maxSinkURLBytes)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		v.addf("must be a URL that begins with https:// or http://, such as %s", example)
	case u.User != nil:
		v.addf("must have no user and no password before an @")
	case u.Fragment != "" || strings.Contains(text, "#"):
		v.addf("must have no # and nothing behind it: that is never sent")
	case !isPort(u.Port()):
		v.addf("must have a port from 1 to 65535, or none")
	}
	return text
}

// isPort tells whether a port is one, or is left out.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && n > 0
}

func readKafka(o object, s *Sink) {
	k := &KafkaSink{}
	s.Kafka = k
	if v, ok := o.need("brokers", `an array of brokers, such as ["kafka-1.example.com:9092"]`); ok {
		list, ok := v.atMost(maxBrokers, "brokers")
		if ok && len(list) == 0 {
			v.addf("must have at least one broker, such as kafka-1.example.com:9092")
		}
		for _, item := range list {
			k.Brokers = append(k.Brokers, readBroker(item))
		}
	}
	if v, ok := o.need("topic", "the topic to produce to, such as fleet-events"); ok {
		k.Topic, ok = v.text()
		legal := func(c byte) bool { return isWord(c) || c == '.' }
		if text := k.Topic; ok && (text == "" || len(text) > maxTopicBytes || text == "." || text == ".." || !every(text, legal)) {
			v.addf("must be 1–%d characters of A–Z, a–z, 0–9, ., _ and -", maxTopicBytes)
		}
	}
	if v, ok := o.get("tls"); ok {
		k.TLS, _ = v.boolean()
	}
	if v, ok := o.get("caFile"); ok {
		k.CAFile, ok = v.text()
		if ok && !filepath.IsAbs(k.CAFile) {
			v.addf("must be an absolute path, such as /etc/fleetwire/kafka-ca.pem")
		} else if ok && !k.TLS {
			v.addf(`is used with "tls":true only`)
		}
	}
	if v, ok := o.get("sasl"); ok {
		readSASL(v, k)
	}
}

func readBroker(v value) string {
	text, ok := v.text()
	if !ok {
		return ""
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" || port == "" || !isPort(port) || strings.ContainsAny(host, "/@ ") {
		v.addf("must be HOST:PORT, such as kafka-1.example.com:9092")
	}
	return text
}

func readSASL(v value, k *KafkaSink) {
	o, ok := v.object("mechanism", "username", "password")
	if !ok {
		return
	}
	const mechanisms = `"plain", "scram-sha-256" or "scram-sha-512"`
	if v, ok := o.need("mechanism", mechanisms); ok {
		k.Mechanism, ok = v.text()
		if ok && !slices.Contains([]string{"plain", "scram-sha-256", "scram-sha-512"}, k.Mechanism) {
			v.addf("must be %s", mechanisms)
		}
	}
	if v, ok := o.need("username", "the user that Kafka knows"); ok {
		k.Username, ok = v.text()
		if ok && k.Username == "" {
			v.addf("is empty; give the user that Kafka knows")
		}
	}
	if v, ok := o.need("password", "the user's password"); ok {
		k.Password = readSecret(v, anySecret)
	}
}

func readSQS(o object, s *Sink) {
	q := &SQSSink{}
	s.SQS = q
	const example = "https://sqs.eu-central-1.amazonaws.com/123456789012/fleet-events"
	if v, ok := o.need("queueUrl", "the queue's URL, such as "+example); ok {
		q.QueueURL = readURL(v, example)
	}
	q.Region, q.Endpoint = readAWS(o)
}

func readKinesis(o object, s *Sink) {
	k := &KinesisSink{}
	s.Kinesis = k
	if v, ok := o.need("stream", "the stream's name or ARN"); ok {
		k.Stream, ok = v.text()
		legal := func(c byte) bool { return isWord(c) || c == '.' }
		name := k.Stream != "" && len(k.Stream) <= maxKinesisNameBytes && every(k.Stream, legal)
		arn := strings.HasPrefix(k.Stream, "arn:") && strings.Contains(k.Stream, ":kinesis:") && strings.Contains(k.Stream, ":stream/")
		if ok && !name && !arn {
			v.addf("must be a name of 1–%d characters of A–Z, a–z, 0–9, ., _ and -, or an ARN such as arn:aws:kinesis:eu-central-1:123456789012:stream/fleet-events", maxKinesisNameBytes)
		}
	}
	k.Region, k.Endpoint = readAWS(o)
}

// readAWS reads where a service of AWS is.
func readAWS(o object) (region, endpoint string) {
	if v, ok := o.get("region"); ok {
		region, ok = v.text()
		legal := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' }
		if ok && (region == "" || len(region) > maxAppIDBytes || !every(region, legal)) {
			v.addf("must be a region of AWS, such as eu-central-1")
		}
	}
	if v, ok := o.get("endpoint"); ok {
		endpoint = readURL(v, "https://vpce-0123.sqs.eu-central-1.vpce.amazonaws.com")
	}
	return region, endpoint
}

func readRedisStream(o object, s *Sink) {
	r := &RedisStreamSink{}
	s.RedisStream = r
	if v, ok := o.need("url", "the Redis, such as rediss://user:password@redis.example.com:6379"); ok {
		r.URL = readSecret(v, isRedisURL)
	}
	if v, ok := o.need("stream", "the stream's key, such as fleet-events"); ok {
		r.Stream, ok = v.text()
		if ok && (r.Stream == "" || len(r.Stream) > maxStreamBytes) {
			v.addf("must have 1 to %d bytes", maxStreamBytes)
		}
	}
	if v, ok := o.get("maxLen"); ok {
		r.MaxLen, _ = v.whole(1, maxPlanNumber)
	}
}

func isRedisURL(text string) error {
	for _, scheme := range []string{"redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://", "unix://"} {
		if strings.HasPrefix(text, scheme) {
			return nil
		}
	}
	return errors.New("must be a URL of Redis, such as rediss://user:password@redis.example.com:6379")
}
