package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/redisconn/redistest"
)

// dial opens a socket through the proxy, from an address of loopback. The error
// of a refused upgrade is its status.
func (f *front) dial(from, query string, header http.Header) (*socket, error) {
	d := ws.Dialer{Timeout: patience, NetDial: f.dialTCP(from), TLSConfig: f.tls(), Header: ws.HandshakeHeaderHTTP(header)}
	conn, in, _, err := d.Dial(context.Background(), "wss://"+proxyHost+"/v1?"+query)
	if err != nil {
		return nil, err
	}
	if in == nil {
		in = bufio.NewReader(conn)
	}
	f.t.Cleanup(func() { conn.Close() })
	return &socket{t: f.t, conn: conn, in: in}, nil
}

func (f *front) connect(from, token string) *socket {
	f.t.Helper()
	s, err := f.dial(from, "token="+token, nil)
	if err != nil {
		f.t.Fatalf("a socket from %s: %v", from, err)
	}
	if frame := s.next(); !strings.HasPrefix(frame, `{"type":"welcome"`) {
		f.t.Fatalf("got %s, want a welcome", frame)
	}
	return s
}

// The configurations in deploy/, run by the real programs before a production
// node: all that a proxy may get wrong with sockets and REST.
func TestProxies(t *testing.T) {
	redis := redistest.Start(t)
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			key := newKey(p.name, "devices/**")
			app := newApp("app_"+p.name, key)
			app.Limits.ConnectsAMin = 3
			node, n := controlPlane(t, "-redis", redis.URL(), "-apps", documentFile(t, app), "-trusted-proxies", "127.0.0.1/32", "-console")
			// Every limit but that of an idle socket is a second: none of them may end one.
			f := p.start(t, n, " 15s", " 1s", " 60s", " 1s", " 3s", " 1s")

			// The device's token is minted, and its command published, through the proxy
			// with an encoded path.
			const commands = "/v1/channels/devices%2Fcam-1%2Fcommands/publish"
			token := f.mint(key, "cam-1")
			device := f.connect("127.0.0.1", token).subscribe("devices/cam-1/commands", "devices//a%2Fb")
			f.publishes(key, commands, `{"data":"reboot"}`, 1)
			device.expectMessage("devices/cam-1/commands", "server", `"reboot"`)
			f.publishes(key, "/v1/channels/devices%2F%2Fa%252Fb/publish", `{"data":2}`, 1)
			device.expectMessage("devices//a%2Fb", "server", "2")

			f.checkBodies(key, "/v1/channels/devices%2Fother/publish")
			f.checkAddresses(key)
			f.checkConsole(key)

			// Silent for longer than each of the other limits.
			if frame, err := device.readUntil(time.Now().Add(1500 * time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("an idle socket got %s, %v", frame, err)
			}
			f.publishes(key, commands, `{"data":"again"}`, 1)
			device.expectMessage("devices/cam-1/commands", "server", `"again"`)

			device.leave()
			node.terminate()
			f.checkLogs(token, p.socketLogged, commands)
		})
	}
}

// mint gets a token for a peer.
func (f *front) mint(key *keyDoc, peer string) string {
	f.t.Helper()
	a, err := f.call("POST", "/v1/tokens", key.credential(), fmt.Sprintf(`{"peerId":%q,"channels":["devices/**"],"permissions":["subscribe"]}`, peer))
	_, rest, found := strings.Cut(a.body, `"token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	if err != nil || a.status != 200 || !found {
		f.t.Fatalf("a token: %v, %d %s", err, a.status, a.body)
	}
	return token
}

// publishes wants 200 and so many subscribers.
func (f *front) publishes(key *keyDoc, path, body string, subscribers int) {
	f.t.Helper()
	a, err := f.call("POST", path, key.credential(), body)
	if want := fmt.Sprintf(`"subscribers":%d}`, subscribers); err != nil || a.status != 200 || !strings.HasSuffix(a.body, want) {
		f.t.Fatalf("POST %s: %v, %d %s; want 200 …%s", path, err, a.status, a.body, want)
	}
}

// checkBodies: what the node takes passes, what is far beyond it does not reach it.
func (f *front) checkBodies(key *keyDoc, path string) {
	f.t.Helper()
	for size, status := range map[int]int{30_000: 200, 40_000: 413, 300_000: 413} {
		body := `{"data":"` + strings.Repeat("x", size) + `"}`
		a, err := f.call("POST", path, key.credential(), body)
		// A server that refuses a body early may close before all of it is sent.
		if err != nil && status == 413 && (errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "broken pipe")) {
			continue
		}
		if err != nil || a.status != status {
			f.t.Errorf("a body of %d bytes: %v, %d %.200s; want %d", size, err, a.status, a.body, status)
		}
	}
}

// checkAddresses: the limit of connects counts each device's own address, and not
// one that it claims.
func (f *front) checkAddresses(key *keyDoc) {
	f.t.Helper()
	if runtime.GOOS != "linux" {
		f.t.Log("SKIPPED: the connect limit behind a proxy needs 127.0.0.2, which Linux alone has from the start")
		return
	}
	for i := range 3 {
		f.connect("127.0.0.2", key.token("many-"+strconv.Itoa(i), nil)).leave()
	}
	_, err := f.dial("127.0.0.2", "token="+key.token("one-too-many", nil), http.Header{"X-Forwarded-For": {"127.0.0.9"}})
	var refused ws.StatusError
	if !errors.As(err, &refused) || int(refused) != http.StatusTooManyRequests {
		f.t.Errorf("the fourth connect from one address that claims another: %v, want 429", err)
	}
	f.connect("127.0.0.3", key.token("another", nil)).leave()
}

// checkLogs: with the node gone, a socket is refused; and nothing that the proxy
// has written of it all, errors included, holds a credential.
func (f *front) checkLogs(token string, entries ...string) {
	f.t.Helper()
	_, err := f.dial("127.0.0.4", "token="+token, nil)
	var refused ws.StatusError
	if !errors.As(err, &refused) || int(refused) < 500 {
		f.t.Errorf("a socket without a node: %v, want a 5xx", err)
	}
	for _, entry := range append(entries, strconv.Itoa(int(refused))) {
		eventually(f.t, "the log has "+entry, patience, func() bool { return strings.Contains(f.logs(), entry) })
	}
	for _, secret := range []string{token, token[strings.LastIndex(token, ".")+1:], "token=", "eyJ", secretMark, "fleetwire_console"} {
		if logs := f.logs(); strings.Contains(logs, secret) {
			f.t.Errorf("the log holds %q:\n%s", secret, logs)
		}
	}
}

// The limit that a proxy has for an idle socket is longer than a node's pings are
// apart, and longer than the node's own; and it is the limit that counts.
func TestProxiesOutwaitSilence(t *testing.T) {
	redis := redistest.Start(t)
	key := newKey("silence", "**")
	_, n := controlPlane(t, "-redis", redis.URL(), "-apps", documentFile(t, newApp("app_silence", key)))
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if p.idle == "" {
				return // no limit
			}
			config, err := os.ReadFile(filepath.Join("..", "deploy", p.config))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(config), p.idle) {
				t.Fatalf("deploy/%s has no %q", p.config, p.idle)
			}
			limit, err := time.ParseDuration(p.idle[strings.LastIndex(p.idle, " ")+1:])
			if err != nil {
				t.Fatal(err)
			}
			if limit <= protocol.PingInterval || limit <= protocol.InactivityLimit {
				t.Errorf("%s: pings are %v apart, and the node gives up after %v", p.idle, protocol.PingInterval, protocol.InactivityLimit)
			}
			f := p.start(t, n, " 90s", " 1s")
			device := f.connect("127.0.0.1", key.token("silent", nil))
			if frame, err := device.read(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a socket that was silent for the proxy's limit: %s, %v; want its end", frame, err)
			}
		})
	}
}
