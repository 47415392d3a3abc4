package targets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"fleetwire/pkg/apps"
)

// maxSecret is longer than any secret is.
const maxSecret = 64 << 10

// Resolve returns the sink with the value of each secret in the secret's place, read now. An error
// says which secret cannot be read, and shows no value.
func (f *Factory) Resolve(ctx context.Context, s *apps.Sink) (*apps.Sink, error) {
	resolved := *s
	var err error
	switch {
	case s.Webhook != nil:
		w := *s.Webhook
		w.Secrets = make([]apps.Secret, len(s.Webhook.Secrets))
		for i, secret := range s.Webhook.Secrets {
			if w.Secrets[i], err = f.read(ctx, fmt.Sprintf("secrets[%d]", i), secret); err != nil {
				return nil, err
			}
		}
		resolved.Webhook = &w
	case s.Kafka != nil && s.Kafka.Mechanism != "":
		k := *s.Kafka
		k.Password, err = f.read(ctx, "sasl.password", k.Password)
		resolved.Kafka = &k
	case s.RedisStream != nil:
		r := *s.RedisStream
		r.URL, err = f.read(ctx, "url", r.URL)
		resolved.RedisStream = &r
	}
	if err != nil {
		return nil, err
	}
	return &resolved, nil
}

// read is the value of a field's secret, without space around it: files often end in a newline.
func (f *Factory) read(ctx context.Context, field string, secret apps.Secret) (apps.Secret, error) {
	text, err := f.value(ctx, secret)
	if err == nil && strings.TrimSpace(text) == "" {
		err = fmt.Errorf("%s is empty", secret)
	}
	if err != nil {
		return "", fmt.Errorf("the secret in %s cannot be read: %w", field, err)
	}
	return apps.Secret(strings.TrimSpace(text)), nil
}

func (f *Factory) value(ctx context.Context, secret apps.Secret) (string, error) {
	switch kind, where := secret.Place(); kind {
	case apps.SecretEnv:
		text, ok := os.LookupEnv(where)
		if !ok {
			return "", fmt.Errorf("the node's environment has no variable %s", where)
		}
		return text, nil
	case apps.SecretFile:
		return readFile(where)
	case apps.SecretAWS:
		return f.secrets.Get(ctx, where)
	default:
		return where, nil
	}
}

func readFile(path string) (string, error) {
	text, err := readStart(path)
	if ofPath, ok := errors.AsType[*fs.PathError](err); ok {
		err = ofPath.Err
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("file:%s: %w", path, err)
	case len(text) > maxSecret:
		return "", fmt.Errorf("file:%s: it has more than %d bytes, so it holds no secret", path, maxSecret)
	}
	return string(text), nil
}

func readStart(path string) ([]byte, error) {
	// Opening a pipe would wait for its writer.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, errors.New("it is not a regular file; give the path of one")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSecret+1))
}
