package apps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

const (
	// aWebhookSecret has a key of 24 bytes.
	aWebhookSecret = "whsec_SEKRITSEKRITSEKRITSEKRITSEKRITSE"
	aSecretARN     = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:crm-AbCdEf"
)

// withSink is a group with a sink of these fields.
func withSink(fields string) string {
	return document(`"groups":[{"name":"crm","patterns":["a"],"sink":{` + fields + `}}],`)
}

func sinkOf(t *testing.T, fields string) *Sink {
	t.Helper()
	dir, err := Parse([]byte(withSink(fields)))
	if err != nil {
		t.Fatal(err)
	}
	return dir.Apps()[0].Groups[0].Sink
}

// sinks have one sink of each type, with all that it can have.
var sinks = map[string]*Sink{
	`"type":"webhook","url":"https://crm.example.com/in?a=1","secrets":["` + aWebhookSecret + `"]`: {
		Type: SinkWebhook, MaxMessages: 100, Concurrency: 4,
		Webhook: &WebhookSink{URL: "https://crm.example.com/in?a=1", Secrets: []Secret{aWebhookSecret}},
	},
	`"type":"webhook","format":"cloudevents","maxMessages":500,"concurrency":64,"url":"http://10.0.0.7:8080","secrets":["env:NEXT_1","file:/run/secrets/crm","` + aSecretARN + `"],"followRedirects":true`: {
		Type: SinkWebhook, CloudEvents: true, MaxMessages: 500, Concurrency: 64,
		Webhook: &WebhookSink{URL: "http://10.0.0.7:8080", Secrets: []Secret{"env:NEXT_1", "file:/run/secrets/crm", aSecretARN}, FollowRedirects: true},
	},
	`"type":"kafka","format":"message","brokers":["k1:9092","[::1]:9092"],"topic":"fleet.events_1-a"`: {
		Type: SinkKafka, MaxMessages: 100, Concurrency: 4, Kafka: &KafkaSink{Brokers: []string{"k1:9092", "[::1]:9092"}, Topic: "fleet.events_1-a"},
	},
	`"type":"kafka","brokers":["k1:9092"],"topic":"t","tls":true,"caFile":"/etc/ca.pem","sasl":{"mechanism":"scram-sha-512","username":"u","password":"SEKRIT"}`: {
		Type: SinkKafka, MaxMessages: 100, Concurrency: 4,
		Kafka: &KafkaSink{Brokers: []string{"k1:9092"}, Topic: "t", TLS: true, CAFile: "/etc/ca.pem", Mechanism: "scram-sha-512", Username: "u", Password: "SEKRIT"},
	},
	`"type":"sqs","queueUrl":"https://sqs.eu-central-1.amazonaws.com/123456789012/q.fifo","region":"eu-central-1","endpoint":"http://127.0.0.1:4566"`: {
		Type: SinkSQS, MaxMessages: 100, Concurrency: 4,
		SQS: &SQSSink{QueueURL: "https://sqs.eu-central-1.amazonaws.com/123456789012/q.fifo", Region: "eu-central-1", Endpoint: "http://127.0.0.1:4566"},
	},
	`"type":"kinesis","stream":"arn:aws:kinesis:eu-central-1:123456789012:stream/fleet"`: {
		Type: SinkKinesis, MaxMessages: 100, Concurrency: 4, Kinesis: &KinesisSink{Stream: "arn:aws:kinesis:eu-central-1:123456789012:stream/fleet"},
	},
	`"type":"redis_stream","url":"rediss://u:SEKRIT@redis.example.com:6379","stream":"fleet events","maxLen":1000000`: {
		Type: SinkRedisStream, MaxMessages: 100, Concurrency: 4,
		RedisStream: &RedisStreamSink{URL: "rediss://u:SEKRIT@redis.example.com:6379", Stream: "fleet events", MaxLen: 1_000_000},
	},
}

func TestSinks(t *testing.T) {
	for fields, want := range sinks {
		if got := sinkOf(t, fields); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n is %+v\nwant %+v", fields, got, want)
		}
	}
	if g := parsed(t, `"groups":[{"name":"a","patterns":["a"]}],`).Group("a"); g.Sink != nil {
		t.Errorf("a group without a sink has %+v", g.Sink)
	}
}

func TestSinksAreRefused(t *testing.T) {
	const (
		webhook = `"type":"webhook","secrets":["env:S"],`
		wantURL = "must be a URL that begins with https:// or http://, such as https://crm.example.com/fleetwire"
		kafka   = `"type":"kafka","topic":"t",`
		redis   = `"type":"redis_stream","stream":"s",`
	)
	secret := func(text string) string { return `"type":"webhook","url":"https://a","secrets":["` + text + `"]` }
	for fields, want := range map[string]string{
		``:                                `.type: missing; a sink needs a type: webhook, kafka, sqs, kinesis or redis_stream`,
		`"type":"http","url":"https://a"`: `.type: must be webhook, kafka, sqs, kinesis or redis_stream`,
		`"type":1`:                        `.type: must be a string, got a number`,
		`"type":"webhook","uri":"https://a","secrets":["env:S"]`: `.uri: unknown field; known here: type, format, maxMessages, concurrency, url, secrets, followRedirects, brokers, topic, tls, caFile, sasl, queueUrl, region, endpoint, stream, maxLen; ` +
			`apps[0].groups[0].sink.url: missing; where the messages are posted to, such as https://crm.example.com/fleetwire`,
		`"type":"webhook","url":"https://a","secrets":["env:S"],"topic":"t"`:                             `.topic: a sink of the type webhook has no such field; known here: type, format, maxMessages, concurrency, url, secrets, followRedirects`,
		webhook + `"url":"https://a","format":"json"`:                                                    `.format: must be "message" or "cloudevents"`,
		webhook + `"url":"https://a","maxMessages":501`:                                                  `.maxMessages: must be at most 500, got 501`,
		webhook + `"url":"https://a","maxMessages":0`:                                                    `.maxMessages: must be a whole number ≥ 1, got 0`,
		webhook + `"url":"https://a","concurrency":65`:                                                   `.concurrency: must be at most 64, got 65`,
		webhook + `"url":"https://a","followRedirects":1`:                                                `.followRedirects: must be true or false, got 1`,
		webhook + `"url":""`:                                                                             `.url: ` + wantURL,
		webhook + `"url":"crm.example.com"`:                                                              `.url: ` + wantURL,
		webhook + `"url":"ftp://crm.example.com"`:                                                        `.url: ` + wantURL,
		webhook + `"url":"https://"`:                                                                     `.url: ` + wantURL,
		webhook + `"url":"https://a b/"`:                                                                 `.url: ` + wantURL,
		webhook + `"url":"https://u:SEKRIT@a/"`:                                                          `.url: must have no user and no password before an @`,
		webhook + `"url":"https://a/#SEKRIT"`:                                                            `.url: must have no # and nothing behind it: that is never sent`,
		webhook + `"url":"https://a:70000/"`:                                                             `.url: must have a port from 1 to 65535, or none`,
		webhook + `"url":"https://a/` + strings.Repeat("a", 2048) + `"`:                                  `.url: has 2058 bytes; at most 2048 are allowed`,
		`"type":"webhook","url":"https://a"`:                                                             `.secrets: missing; an array of 1 to 5 secrets that sign what is posted`,
		`"type":"webhook","url":"https://a","secrets":[]`:                                                `.secrets: must have at least one secret; ` + wantWebhookSecret,
		`"type":"webhook","url":"https://a","secrets":"env:S"`:                                           `.secrets: must be an array, got a string`,
		`"type":"webhook","url":"https://a","secrets":["env:A","env:A","env:A","env:A","env:A","env:A"]`: `.secrets: has 6 secrets; at most 5 are allowed`,
		secret(""):                      `.secrets[0]: is empty; ` + wantSecret,
		secret("SEKRIT"):                `.secrets[0]: does not begin with whsec_; ` + wantWebhookSecret + `; or env:NAME, file:/PATH, or the ARN of a secret of AWS Secrets Manager`,
		secret("whsec_SEKRIT-SEKRIT"):   `.secrets[0]: is not base64 behind whsec_; ` + wantWebhookSecret + `; or env:NAME, file:/PATH, or the ARN of a secret of AWS Secrets Manager`,
		secret("whsec_SEKRITSEKRIT"):    `.secrets[0]: holds a key of 9 bytes; ` + wantWebhookSecret + `; or env:NAME, file:/PATH, or the ARN of a secret of AWS Secrets Manager`,
		secret("env:"):                  `.secrets[0]: names no environment variable behind env:; use A–Z, a–z, 0–9 and _, as in env:CRM_SECRET`,
		secret("env:1A"):                `.secrets[0]: names no environment variable behind env:; use A–Z, a–z, 0–9 and _, as in env:CRM_SECRET`,
		secret("env:A-SEKRIT"):          `.secrets[0]: names no environment variable behind env:; use A–Z, a–z, 0–9 and _, as in env:CRM_SECRET`,
		secret("file:SEKRIT"):           `.secrets[0]: has no absolute path behind file:; write it as in file:/etc/fleetwire/crm-secret`,
		secret("arn:aws:iam::1:SEKRIT"): `.secrets[0]: is the ARN of something that is no secret; it looks like arn:aws:secretsmanager:eu-central-1:123456789012:secret:NAME-AbCdEf`,
		`"type":"kafka","brokers":["SEKRIT"],"topic":"t"`:         `.brokers[0]: must be HOST:PORT, such as kafka-1.example.com:9092`,
		kafka + `"brokers":[]`:                                    `.brokers: must have at least one broker, such as kafka-1.example.com:9092`,
		kafka + `"brokers":[""` + strings.Repeat(`,""`, 20) + `]`: `.brokers: has 21 brokers; at most 20 are allowed`,
		kafka + `"brokers":["a:1"],"caFile":"/ca.pem"`:            `.caFile: is used with "tls":true only`,
		kafka + `"brokers":["a:1"],"tls":true,"caFile":"ca.pem"`:  `.caFile: must be an absolute path, such as /etc/fleetwire/kafka-ca.pem`,
		kafka + `"brokers":["a:1"],"sasl":{"mechanism":"gssapi","username":"","password":""}`: `.sasl.mechanism: must be "plain", "scram-sha-256" or "scram-sha-512"; ` +
			`apps[0].groups[0].sink.sasl.username: is empty; give the user that Kafka knows; apps[0].groups[0].sink.sasl.password: is empty; ` + wantSecret,
		`"type":"kafka","brokers":["a:1"],"topic":"a/b"`:               `.topic: must be 1–249 characters of A–Z, a–z, 0–9, ., _ and -`,
		`"type":"kafka","brokers":["a:1"],"topic":".."`:                `.topic: must be 1–249 characters of A–Z, a–z, 0–9, ., _ and -`,
		`"type":"sqs","queueUrl":"q"`:                                  `.queueUrl: must be a URL that begins with https:// or http://, such as https://sqs.eu-central-1.amazonaws.com/123456789012/fleet-events`,
		`"type":"sqs","queueUrl":"https://a/1/q","region":"Frankfurt"`: `.region: must be a region of AWS, such as eu-central-1`,
		`"type":"kinesis","stream":"a/b"`:                              `.stream: must be a name of 1–128 characters of A–Z, a–z, 0–9, ., _ and -, or an ARN such as arn:aws:kinesis:eu-central-1:123456789012:stream/fleet-events`,
		`"type":"kinesis","stream":"a","endpoint":"b"`:                 `.endpoint: must be a URL that begins with https:// or http://, such as https://vpce-0123.sqs.eu-central-1.vpce.amazonaws.com`,
		redis + `"url":"http://u:SEKRIT@r"`:                            `.url: must be a URL of Redis, such as rediss://user:password@redis.example.com:6379; or env:NAME, file:/PATH, or the ARN of a secret of AWS Secrets Manager`,
		redis + `"url":"redis://a","maxLen":0`:                         `.maxLen: must be a whole number ≥ 1, got 0`,
		`"type":"redis_stream","url":"redis://a","stream":""`:          `.stream: must have 1 to 512 bytes`,
	} {
		_, err := Parse([]byte(withSink(fields)))
		if err == nil {
			t.Errorf("%s: accepted", fields)
		} else if got, want := err.Error(), "apps document: apps[0].groups[0].sink"+want; got != want {
			t.Errorf("%s\n   is %s\n want %s", fields, got, want)
		} else if strings.Contains(got, "SEKRIT") {
			t.Errorf("%s shows a secret: %s", fields, got)
		}
	}
	_, err := Parse([]byte(document(`"groups":[{"name":"crm","patterns":["a"],"ackTimeoutSec":29,"sink":{"type":"webhook","url":"https://a","secrets":["env:S"]}}],`)))
	const want = "apps document: apps[0].groups[0].ackTimeoutSec: must be at least 30 in a group with a sink, as a delivery may take 15 s; got 29"
	if err == nil || err.Error() != want {
		t.Errorf("a short lease: %v", err)
	}
}

// A sink may end up in a log line; its secrets must not.
func TestPrintingASinkNeverShowsASecret(t *testing.T) {
	for fields := range sinks {
		s := sinkOf(t, fields)
		var out bytes.Buffer
		for _, one := range []any{s, *s, s.Webhook, s.Kafka, s.RedisStream, s.Secrets(), []*Sink{s}} {
			if reflect.ValueOf(one).Kind() == reflect.Pointer && reflect.ValueOf(one).IsNil() {
				continue
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
				fmt.Fprintf(&out, verb+"\n", one)
			}
			slog.New(slog.NewTextHandler(&out, nil)).Info("m", "one", one)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "one", one)
			text, err := json.Marshal(one)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(text)
		}
		for _, secret := range s.Secrets() {
			kind, _ := secret.Place()
			shown := strings.Contains(out.String(), string(secret)) || strings.Contains(out.String(), fmt.Sprintf("%x", string(secret)))
			if shown != (kind != SecretLiteral) {
				t.Errorf("%s: shown is %v in:\n%s", secret, shown, out.String())
			}
		}
	}
}

// A sink is another when any of its fields is, and only then.
func TestSinksAreCompared(t *testing.T) {
	digests := map[string]string{}
	for fields := range sinks {
		s, again := sinkOf(t, fields), sinkOf(t, fields)
		if !s.Equal(again) || s.Digest() != again.Digest() {
			t.Errorf("%s differs from itself", fields)
		}
		if other := digests[s.Digest()]; other != "" {
			t.Errorf("%s has the digest of %s", fields, other)
		}
		digests[s.Digest()] = fields
	}
	for fields := range sinks {
		for from, to := range map[string]string{
			`"type":"`: `"maxMessages":7,"type":"`, `.com`: `.org`, `whsec_S`: `whsec_T`, `env:NEXT_1`: `env:NEXT_2`, `,"followRedirects":true`: ``, `"k1:9092"`: `"k2:9092"`, `"tls":true,"caFile":"/etc/ca.pem",`: ``,
			`scram-sha-512`: `scram-sha-256`, `"password":"SEKRIT"`: `"password":"sekrit"`, `:SEKRIT@`: `:sekrit@`, `q.fifo`: `r.fifo`, `stream/fleet`: `stream/other`, `1000000`: `1000001`,
		} {
			if !strings.Contains(fields, from) || from == `"type":"` && strings.Contains(fields, "maxMessages") {
				continue
			}
			s, other := sinkOf(t, fields), sinkOf(t, strings.Replace(fields, from, to, 1))
			if s.Equal(other) || s.Digest() == other.Digest() {
				t.Errorf("%s with %s counts as the same", fields, to)
			}
		}
	}
	if (*Sink)(nil).Equal(&Sink{}) || !(*Sink)(nil).Equal(nil) {
		t.Error("no sink is some sink")
	}
	a, b := parsed(t, `"groups":[{"name":"a","patterns":["a"]}],`), parsed(t, `"groups":[{"name":"a","patterns":["a"],"sink":{"type":"webhook","url":"https://a","secrets":["env:S"]}}],`)
	if a.Keys[0].Equal(b.Keys[0]) {
		t.Error("a connection does not get to know that a group has a sink")
	}
}
