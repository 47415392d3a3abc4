package targets_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/awssecret/awssecrettest"
	"fleetwire/pkg/sink/targets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:crm-AbCdEf"
	secret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	other     = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// parse reads a sink out of a document, as nodes do.
func parse(t *testing.T, sink string) *apps.Sink {
	t.Helper()
	directory, err := apps.Parse([]byte(`{"apps":[{"id":"app_demo","keys":[],"groups":[{"name":"crm","patterns":["devices/*/events"],"sink":` + sink + `}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	app, _ := directory.App("app_demo")
	return app.Groups[0].Sink
}

func factory(t *testing.T) (*targets.Factory, *awssecrettest.Server) {
	t.Helper()
	s := awssecrettest.Start(t)
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	t.Setenv("AWS_REGION", "eu-central-1")
	return &targets.Factory{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, s
}

func TestNewMakesEachType(t *testing.T) {
	f, _ := factory(t)
	for sink, want := range map[string]string{
		`{"type":"webhook","url":"https://crm.example.com/in","secrets":["` + secret + `"]}`:                                                "*webhook.Target",
		`{"type":"kafka","brokers":["127.0.0.1:9092"],"topic":"events","sasl":{"mechanism":"scram-sha-256","username":"u","password":"p"}}`: "*kafka.Target",
		`{"type":"sqs","queueUrl":"https://sqs.eu-central-1.amazonaws.com/123456789012/events"}`:                                            "*sqs.Target",
		`{"type":"kinesis","stream":"events","region":"eu-west-1","format":"cloudevents"}`:                                                  "*kinesis.Target",
		`{"type":"redis_stream","url":"redis+sentinel://127.0.0.1:1/mymaster","stream":"events"}`:                                           "*redisstream.Target",
	} {
		resolved, err := f.Resolve(t.Context(), parse(t, sink))
		if err != nil {
			t.Fatalf("%s: %v", sink, err)
		}
		target, err := f.New(t.Context(), resolved)
		if err != nil {
			t.Fatalf("%s: %v", sink, err)
		}
		if got := fmt.Sprintf("%T", target); got != want {
			t.Errorf("%s: %s, want %s", sink, got, want)
		}
		if err := target.Close(); err != nil {
			t.Errorf("%s: %v", sink, err)
		}
	}
}

func TestResolve(t *testing.T) {
	f, aws := factory(t)
	aws.Put(secretARN, other+"\n")
	t.Setenv("CRM_SECRET", " "+secret)
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(other+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := parse(t, `{"type":"webhook","url":"https://crm.example.com/in","secrets":["env:CRM_SECRET","file:`+path+`","`+secretARN+`","`+secret+`"]}`)
	resolve := func() *apps.Sink {
		t.Helper()
		resolved, err := f.Resolve(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return resolved
	}
	first := resolve()
	if want := []apps.Secret{secret, other, other, secret}; !reflect.DeepEqual(first.Webhook.Secrets, want) {
		t.Errorf("got %q", first.Webhook.Secrets)
	}
	if !reflect.DeepEqual(first, resolve()) {
		t.Error("the same secrets make another sink")
	}
	if kind, _ := s.Webhook.Secrets[0].Place(); kind != apps.SecretEnv {
		t.Error("the document's sink was changed")
	}
	aws.Put(secretARN, secret)
	if rotated := resolve(); rotated.Webhook.Secrets[2] != secret {
		t.Error("a rotated secret is not read")
	}
	t.Setenv("PLACE", "redis://127.0.0.1:6379")
	redis, err := f.Resolve(t.Context(), parse(t, `{"type":"redis_stream","url":"env:PLACE","stream":"s"}`))
	if err != nil || redis.RedisStream.URL != "redis://127.0.0.1:6379" {
		t.Errorf("%q, %v", redis.RedisStream.URL, err)
	}
	kafka, err := f.Resolve(t.Context(), parse(t, `{"type":"kafka","brokers":["b:9092"],"topic":"t","sasl":{"mechanism":"plain","username":"u","password":"env:CRM_SECRET"}}`))
	if err != nil || kafka.Kafka.Password != secret {
		t.Errorf("%q, %v", kafka.Kafka.Password, err)
	}
	if _, err := f.Resolve(t.Context(), parse(t, `{"type":"kafka","brokers":["b:9092"],"topic":"t"}`)); err != nil {
		t.Errorf("without SASL: %v", err)
	}
}

func TestResolveErrors(t *testing.T) {
	f, aws := factory(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": " \n", "long": strings.Repeat("5ec4e7", 20000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	aws.Break(true)
	t.Setenv("EMPTY_SECRET", "")
	for given, want := range map[string]string{
		"env:NO_SUCH_SECRET":      "the secret in secrets[1] cannot be read: the node's environment has no variable NO_SUCH_SECRET",
		"env:EMPTY_SECRET":        "the secret in secrets[1] cannot be read: env:EMPTY_SECRET is empty",
		"file:" + dir + "/empty":  "the secret in secrets[1] cannot be read: file:" + dir + "/empty is empty",
		"file:" + dir + "/long":   "it has more than 65536 bytes",
		"file:" + dir + "/absent": "file:" + dir + "/absent: no such file or directory",
		"file:" + dir + "/pipe":   "file:" + dir + "/pipe: it is not a regular file",
		"file:/dev/zero":          "file:/dev/zero: it is not a regular file",
		"file:" + dir:             "is a directory",
		secretARN:                 "InternalServiceError",
	} {
		_, err := f.Resolve(t.Context(), parse(t, `{"type":"webhook","url":"https://crm.example.com/in","secrets":["`+secret+`","`+given+`"]}`))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "5ec4e7") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error %v, want one with %q and no secret", given, err, want)
		}
	}
}

// The document's check refuses a bad literal. New refuses a bad value that lies elsewhere.
func TestNewRefusesSecretsThatAreNone(t *testing.T) {
	f, _ := factory(t)
	t.Setenv("CRM_SECRET", "5ec4e7-but-no-key")
	for sink, want := range map[string]string{
		`{"type":"webhook","url":"https://crm.example.com/in","secrets":["env:CRM_SECRET"]}`: "the sink cannot be opened: secrets[0]: it does not begin with whsec_",
		`{"type":"redis_stream","url":"env:CRM_SECRET","stream":"s"}`:                        "the sink cannot be opened: url: the Redis URL must begin with redis://",
	} {
		resolved, err := f.Resolve(t.Context(), parse(t, sink))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.New(t.Context(), resolved); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "5ec4e7") {
			t.Errorf("error %v, want one with %q and no secret", err, want)
		}
	}
}
