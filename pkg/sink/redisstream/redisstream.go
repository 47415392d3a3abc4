// Package redisstream is the target of sinks that appends to a stream of a Redis (protocol §10.4).
package redisstream

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/sink"
)

//go:embed append.lua
var appendSource string

var appendScript = redisconn.NewScript(appendSource)

// Options set a Target up.
type Options struct {
	URL         string // as -redis takes it
	Stream      string
	MaxLen      int64 // about so many entries are kept; 0: all
	CloudEvents bool
}

// Target appends to a stream.
type Target struct {
	opt Options

	mu  sync.Mutex
	rdb redis.UniversalClient
}

// New reads the URL, and asks for at most a second whether it is one of a cluster. No error
// shows the URL, which may have a password in it.
func New(opt Options) (*Target, error) {
	if opt.Stream == "" {
		return nil, errors.New("stream: it is empty; give the key of the stream, such as fleet-events")
	}
	if _, query, _ := strings.Cut(opt.URL, "?"); skipsVerifying(query) {
		return nil, errors.New("url: it says skip_verify=true, so that anybody in between could pose as Redis; leave it out")
	}
	rdb, err := redisconn.Open(opt.URL, redisconn.TLS{})
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	return &Target{opt: opt, rdb: rdb}, nil
}

func skipsVerifying(query string) bool {
	values, err := url.ParseQuery(query)
	return err == nil && values.Has("skip_verify")
}

// Deliver appends the batch in one step (sink.Target): a stream gets all of it, or nothing.
func (t *Target) Deliver(ctx context.Context, batch []sink.Message) []error {
	rdb := t.client()
	call := &redisconn.Call{Script: appendScript, Keys: []string{t.opt.Stream}, Args: t.arguments(batch)}
	err := redisconn.Exec(ctx, rdb, []*redisconn.Call{call})
	if err == nil {
		return sink.All(len(batch), nil)
	}
	if redisconn.BecameCluster(err) { // it did not answer when it was asked what it is
		t.reopen(rdb)
	}
	return sink.All(len(batch), &sink.Unavailable{Reason: t.reason(err)})
}

// reason never shows the URL: no error of redisconn does.
func (t *Target) reason(err error) string {
	said := err.Error()
	switch {
	case redisconn.BecameCluster(err):
		return "Redis is a cluster, and was not there when the sink began; the sink has opened it anew"
	case strings.Contains(said, "WRONGTYPE"):
		return fmt.Sprintf("the key %q of the Redis is not a stream; delete or rename it, or give the sink another stream", t.opt.Stream)
	case errors.Is(err, context.DeadlineExceeded):
		return "Redis did not answer in time"
	}
	return "Redis did not take the messages: " + said
}

func (t *Target) arguments(batch []sink.Message) []any {
	args := make([]any, 0, 1+15*len(batch))
	args = append(args, t.opt.MaxLen)
	for i := range batch {
		m := &batch[i]
		if t.opt.CloudEvents {
			args = append(args, 2, "event", sink.Payload(m, true))
			continue
		}
		n := 12
		if len(m.FromMetadata) > 0 {
			n += 2
		}
		args = append(args, n, "id", m.ID, "channel", m.Channel, "from", m.From)
		if len(m.FromMetadata) > 0 {
			args = append(args, "fromMetadata", []byte(m.FromMetadata))
		}
		args = append(args, "data", []byte(m.Data), "publishedAt", strconv.FormatInt(m.PublishedAt, 10), "attempt", m.Attempt)
	}
	return args
}

func (t *Target) client() redis.UniversalClient {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rdb
}

// reopen puts a new client in the place of old, unless another caller has.
func (t *Target) reopen(old redis.UniversalClient) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rdb != old {
		return
	}
	if rdb, err := redisconn.Open(t.opt.URL, redisconn.TLS{}); err == nil {
		_ = old.Close()
		t.rdb = rdb
	}
}

// Close closes the connections.
func (t *Target) Close() error { return t.client().Close() }
