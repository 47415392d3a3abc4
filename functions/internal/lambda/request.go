package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"fleetwire/clients/go/protocol"
)

// message is an HTTP request as an event holds it.
type message struct {
	method   string
	path     string // as sent, with its escapes
	query    string // as sent, without the question mark
	header   http.Header
	host     string // if there is no Host header
	remote   string // address that the front door saw, or ""
	body     string
	isBase64 bool
}

// request makes what a handler gets. An error is that the caller sent what no
// server would take.
func (m *message) request(ctx context.Context) (*http.Request, *protocol.Error) {
	escaped := normalize(m.path)
	path, err := url.PathUnescape(escaped)
	if err != nil {
		path = escaped // for the handler to refuse
	}
	body := []byte(m.body)
	if m.isBase64 {
		if body, err = base64.StdEncoding.DecodeString(m.body); err != nil {
			return nil, protocol.Errorf(protocol.InvalidRequest, "the body did not arrive whole; send it again")
		}
	}
	r := (&http.Request{
		Method: m.method,
		// RawPath is what api.Path gives back: %2F must not become a slash.
		URL:           &url.URL{Path: path, RawPath: escaped, RawQuery: m.query},
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        m.header,
		Body:          http.NoBody,
		ContentLength: int64(len(body)),
		Host:          m.host,
		RemoteAddr:    remoteAddr(m.remote),
	}).WithContext(ctx)
	if len(body) > 0 {
		r.Body = readCloser{bytes.NewReader(body)}
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	r.Header.Del("Host") // as net/http's server does
	if r.RequestURI = escaped; m.query != "" {
		r.RequestURI += "?" + m.query
	}
	return r, nil
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// normalize escapes what may not stand in a URL's path, and leaves the escapes
// there are. Without it url.URL would not take the path for an escaped one, and
// would lose the difference between %2F and a slash.
func normalize(path string) string {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if c <= ' ' || c > '~' || strings.IndexByte("\"#<>?\\^`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// remoteAddr puts an address into net/http's form, address:port. Front doors
// mostly leave the port out; it is 0 then. Anything but an address becomes "".
func remoteAddr(s string) string {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.String()
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return net.JoinHostPort(a.String(), "0")
	}
	return ""
}

// lastForwarded is the last entry of X-Forwarded-For, which the front door
// appended itself.
func lastForwarded(h http.Header) string {
	all := strings.Join(h.Values("X-Forwarded-For"), ",")
	return strings.TrimSpace(all[strings.LastIndexByte(all, ',')+1:])
}
