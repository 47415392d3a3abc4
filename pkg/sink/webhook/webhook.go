// Package webhook is the target of sinks that posts batches to a URL, signed as Standard
// Webhooks (https://www.standardwebhooks.com) has it (protocol §10.4).
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/sink"
)

const (
	// timeout bounds a delivery, with redirects.
	timeout = 15 * time.Second
	// maxAnswer is how much of an answer's body is read, so that its connection can be used again.
	maxAnswer = 1 << 10
	// maxRedirects are followed, if any are.
	maxRedirects = 3
	userAgent    = "Fleetwire-Webhook"
)

// Options set a Target up.
type Options struct {
	URL             string   // https://, or http:// for addresses in Networks
	Secrets         []string // whsec_…, at least one; each signs
	CloudEvents     bool
	FollowRedirects bool
	// Networks are those that may be reached although they are not public.
	Networks []netip.Prefix
}

// Target posts to a URL.
type Target struct {
	url         string
	keys        [][]byte
	contentType string
	cloudEvents bool
	follow      bool
	client      *http.Client
	transport   *transport
	// Tests set these.
	timeout time.Duration
	now     func() time.Time
}

// New checks the options. It does not connect. No error shows a secret or the URL, which may
// have one in it.
func New(opt Options) (*Target, error) {
	if err := checkURL(opt.URL); err != nil {
		return nil, err
	}
	if len(opt.Secrets) == 0 {
		return nil, errors.New("secrets: there is none; give at least one, such as whsec_ and the base64 of 32 random bytes")
	}
	t := &Target{
		url: opt.URL, contentType: "application/json", cloudEvents: opt.CloudEvents,
		follow: opt.FollowRedirects, transport: newTransport(opt.Networks), timeout: timeout, now: time.Now,
	}
	for i, secret := range opt.Secrets {
		key, err := apps.WebhookKey(secret)
		if err != nil {
			return nil, fmt.Errorf("secrets[%d]: it %w", i, err)
		}
		t.keys = append(t.keys, key)
	}
	if opt.CloudEvents {
		t.contentType = "application/cloudevents-batch+json"
	}
	t.client = &http.Client{Transport: t.transport, CheckRedirect: noRedirects}
	if opt.FollowRedirects {
		t.client.CheckRedirect = someRedirects
	}
	return t, nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("url: it is not the URL of a webhook; give one such as https://hooks.example.com/fleetwire")
	case u.User != nil:
		return errors.New("url: it has a user name or a password; leave them out, as messages are signed")
	}
	return nil
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// someRedirects follows those that keep the method and the body.
func someRedirects(r *http.Request, via []*http.Request) error {
	kept := r.Response.StatusCode == http.StatusTemporaryRedirect || r.Response.StatusCode == http.StatusPermanentRedirect
	if !kept || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	r.Header.Del("Referer") // the URL may have a secret in it
	// An endpoint could lead to another host each time, and keep a connection to each open.
	r.Close = r.URL.Host != via[0].URL.Host
	return nil
}

// Deliver posts the batch as one request (sink.Target).
func (t *Target) Deliver(ctx context.Context, batch []sink.Message) []error {
	return sink.All(len(batch), t.post(ctx, batch))
}

func (t *Target) post(parent context.Context, batch []sink.Message) error {
	ctx, cancel := context.WithTimeout(parent, t.timeout)
	defer cancel()
	r, err := t.request(ctx, batch)
	if err != nil {
		return &sink.Unavailable{Reason: "the request cannot be made"} // checkURL has seen to it
	}
	response, err := t.client.Do(r)
	if err != nil {
		return t.unreachable(parent, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols { // that body is the connection, and ctx does not end reading it
		_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	}
	return t.judge(response)
}

func (t *Target) request(ctx context.Context, batch []sink.Message) (*http.Request, error) {
	body := t.body(batch)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	id, at := ID(batch), strconv.FormatInt(t.now().Unix(), 10)
	r.Header.Set("Content-Type", t.contentType)
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", at)
	r.Header.Set("Webhook-Signature", sign(t.keys, id, at, body))
	return r, nil
}

// body is a JSON array, of one message too.
func (t *Target) body(batch []sink.Message) []byte {
	body := []byte{'['}
	for i := range batch {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, sink.Payload(&batch[i], t.cloudEvents)...)
	}
	return append(body, ']')
}

// Close closes idle connections.
func (t *Target) Close() error {
	t.transport.close()
	return nil
}
