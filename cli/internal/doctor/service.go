package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

const (
	// requestTime bounds one request.
	requestTime = 10 * time.Second
	// slowRequest is what a request over the internet takes at most.
	slowRequest = time.Second
	// maxClockOffset is well within the leeway that tokens have (protocol §3).
	maxClockOffset = 30 * time.Second
)

// rest makes a request that needs the key, and Redis.
func (d *Doctor) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	began := time.Now()
	_, err := d.Service.Do(ctx, http.MethodGet, "/usage", nil)
	took := time.Since(began).Round(time.Millisecond)
	refused, isRefused := errors.AsType[*client.Error](err)
	switch {
	case err == nil && took > slowRequest:
		d.tell("REST", Warning, fmt.Sprintf("a request took %v", took), "look at the latency of Redis below, and at what lies between here and the service")
	case err == nil:
		d.tell("REST", OK, fmt.Sprintf("a request took %v", took), "")
	case isRefused && refused.Code == protocol.Unauthorized:
		d.tell("REST", Fault, "the service does not know the secret key", "take one of the apps document that the nodes have; they read it again within a minute")
	case isRefused && refused.Code == "":
		d.tell("REST", Fault, fmt.Sprintf("HTTP %d, and the answer is not the service's", refused.Status), "check the URL, and that the proxy hands /v1/ on to the nodes; nodes serve REST with -control-plane only")
	case isRefused:
		d.tell("REST", Fault, refused.Error(), "see docs/protocol.md §5 about this error")
	default:
		d.tell("REST", Fault, err.Error(), "check the URL, DNS, the certificate, and that the service runs")
	}
}

// socket connects as a device would, with a token that allows nothing.
func (d *Doctor) socket(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	const peer = "fleetwire-doctor"
	token, _, err := d.Service.MintToken(ctx, client.TokenRequest{Peer: peer, Channels: []string{}, TTL: time.Minute})
	if err != nil {
		d.tell("WebSocket", Skipped, "there is no token to connect with", "")
		return
	}
	welcome := make(chan client.Welcome, 1)
	began := time.Now()
	connection, err := client.Dial(ctx, client.Options{
		URL: d.Service.BaseURL, Token: client.StaticToken(token),
		OnState: func(c client.Change) {
			if c.State == client.Connected {
				select {
				case welcome <- c.Welcome:
				default:
				}
			}
		},
	})
	if err != nil {
		d.tell("WebSocket", Fault, "no connection: "+err.Error(), "the proxy must hand on GET /v1 with the headers Upgrade and Connection, by HTTP/1.1; see deploy/ for nginx, HAProxy and Caddy")
		return
	}
	defer connection.Close()
	d.tell("WebSocket", OK, fmt.Sprintf("connected in %v", time.Since(began).Round(time.Millisecond)), "")
	d.clock((<-welcome).ServerTime)
	d.address(ctx, peer)
}

func (d *Doctor) clock(server time.Time) {
	offset := d.Now().Sub(server).Round(time.Second)
	if offset.Abs() > maxClockOffset {
		d.tell("clock", Warning, fmt.Sprintf("this machine's clock differs by %v from the service's", offset), "have both follow NTP: tokens that are signed by a wrong clock are refused")
		return
	}
	d.tell("clock", OK, "this machine's clock and the service's agree", "")
}

// address looks at which address the service believes to be this machine's.
func (d *Doctor) address(ctx context.Context, peer string) {
	const check = "proxy headers"
	shown := ""
	for ctx.Err() == nil && shown == "" { // a connection is known some milliseconds after its welcome
		p, err := d.Service.Peer(ctx, peer)
		switch code := client.CodeOf(err); {
		case code == protocol.ActionNotPermitted:
			d.tell(check, Skipped, "the key may not look at peers", "give it the action presence, and the pattern _system/connectivity/**")
			return
		case err != nil && code != protocol.PeerNotFound:
			d.tell(check, Skipped, err.Error(), "")
			return
		}
		if err == nil && len(p.Connections) > 0 {
			if shown = p.Connections[0].Address; shown == "" {
				d.tell(check, Skipped, "the key may not see addresses", "give it the pattern _system/connectivity/**")
				return
			}
		}
		pause(ctx, 50*time.Millisecond)
	}
	seen, err := netip.ParseAddr(shown)
	if err != nil {
		d.tell(check, Skipped, "the service does not show the connection", "")
		return
	}
	if isLocal(seen) && !d.serviceIsLocal(ctx) {
		d.tell(check, Warning, "the service takes "+shown+", an inner address, for this machine's",
			"set -trusted-proxies to the networks of your proxies, and have them send X-Forwarded-For: else all devices share the limits of one address")
		return
	}
	d.tell(check, OK, "the service sees the address "+shown, "")
}

func isLocal(a netip.Addr) bool {
	return a.Unmap().IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()
}

// serviceIsLocal tells whether the service is reached by an inner address.
func (d *Doctor) serviceIsLocal(ctx context.Context) bool {
	u, err := url.Parse(d.Service.BaseURL)
	if err != nil {
		return false
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if !isLocal(a) {
			return false
		}
	}
	return true
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// ops asks a node whether it is ready.
func (d *Doctor) ops(ctx context.Context) {
	const check = "node"
	if d.Ops == "" {
		d.tell(check, Skipped, "no operations address is given", "give --ops http://HOST:8081 where it can be reached, to see whether a node is ready and how many files it may open")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	text, status, err := get(ctx, d.Ops+"/readyz")
	switch {
	case err != nil:
		d.tell(check, Fault, err.Error(), "check --ops, and that the node runs")
		return
	case status != http.StatusOK:
		d.tell(check, Fault, fmt.Sprintf("not ready (HTTP %d): %s", status, strings.TrimSpace(text)), "see docs/operations.md about what /readyz says")
	default:
		d.tell(check, OK, "ready", "")
	}
	if text, status, err = get(ctx, d.Ops+"/metrics"); err != nil || status != http.StatusOK {
		d.tell("open files of the node", Skipped, "/metrics does not answer", "check --ops")
		return
	}
	most, used := metric(text, "process_max_fds"), metric(text, "process_open_fds")
	d.fileLimit("open files of the node", most, used)
}

func get(ctx context.Context, address string) (text string, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return string(body), response.StatusCode, err
}

// metric is the value of a metric without labels; 0: there is none.
func metric(text, name string) (value float64) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			_, _ = fmt.Sscan(rest, &value)
		}
	}
	return value
}
