package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
)

// Options set a Client up. URL and one of Token and PublishableKey are required.
type Options struct {
	// URL is the service: https://host, or http:// where there is no TLS. ws:// and
	// wss:// mean the same; a path before /v1 is kept.
	URL string

	// Token provides the JWT to connect with (protocol §3). It is called before the
	// first connection, again shortly before that token's time is over, so that the
	// connection can go on with the next one (refresh, protocol §4.2), and when the
	// service has refused a token; until then the same one is used. It may take 30 s, and should heed ctx. An error means: try again after a pause, or, if it is an [ErrStop],
	// stop. See [StaticToken] and [REST.Tokens].
	Token func(ctx context.Context) (string, error)

	// PublishableKey is the id of a key (pk_…) to connect with, in a token's place.
	PublishableKey string

	// OnDirect is handed what other peers send to this one. nil: it is ignored.
	OnDirect func(Message)

	// OnState is told what becomes of the connection.
	OnState func(Change)

	// OnError hears of refusals that no call returns:
	// a message of PublishNoAck, or the renewal of a subscription or of the will after a
	// reconnect (which is tried again on the next connection). These are logged as well.
	OnError func(error)

	// OnGap hears where messages of a channel that remembers (protocol §9) did not come to
	// a subscription by name, and will not: too much was forgotten while the client, or its
	// node, was away, or Redis has lost its data. nil: such a gap is in the log alone.
	OnGap func(Gap)

	// Log gets a line when the connection or a subscription fails; nil: there is no log.
	Log *slog.Logger

	// FramesPerSecond bounds what is sent, since the service closes a connection that
	// sends too much (4011): more frames than this wait for their turn, once as many
	// were sent in a burst. 0 is 95, a little below the service's own limit; set it
	// where your app's limit is another (limits.connectionMessagesPerSec).
	FramesPerSecond int

	// QueueBytes bounds the messages that wait for a handler: their data, channels
	// and metadata, and 256 bytes more each. 0 is 4 MiB.
	QueueBytes int

	// DialContext opens the TCP connection, for those behind a proxy; nil is a
	// net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLS is for a private authority or a client certificate; nil is the system's.
	TLS *tls.Config
}

const (
	defaultFramesPerSecond = 95
	defaultQueueBytes      = 4 << 20
)

// ErrStop, returned by Options.Token or wrapped in what it returns, makes the
// client stop: there will be no other token.
var ErrStop = errors.New("no further token")

// StaticToken is an Options.Token, of one Client, for a program that was given one
// token and can't get another: the client stops when that is refused or has expired.
func StaticToken(token string) func(context.Context) (string, error) {
	given := false // the client calls it from one goroutine
	return func(context.Context) (string, error) {
		if given {
			return "", fmt.Errorf("%w: the only one was refused or has expired", ErrStop)
		}
		given = true
		return token, nil
	}
}

func (o *Options) complete() error {
	switch {
	case o.Token == nil && o.PublishableKey == "":
		return errors.New("client: Options need a Token or a PublishableKey to connect with")
	case o.Token != nil && o.PublishableKey != "":
		return errors.New("client: Options have both a Token and a PublishableKey; give one")
	case o.FramesPerSecond < 0 || o.QueueBytes < 0:
		return errors.New("client: FramesPerSecond and QueueBytes must be positive, or 0 for their defaults")
	}
	if o.FramesPerSecond == 0 {
		o.FramesPerSecond = defaultFramesPerSecond
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = defaultQueueBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// serviceURL is the service's URL up to and with /v1, for HTTP.
func serviceURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("client: the URL is malformed; it should be like https://host")
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, fmt.Errorf("client: the URL's scheme is %q; it should be https, or http without TLS", u.Scheme)
	}
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("client: the URL should be a scheme, a host and perhaps a path, like https://host; credentials have options of their own")
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v1") + "/v1"
	u.RawPath = ""
	return u, nil
}
