package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// controlPlane starts a production node that serves REST too.
func controlPlane(t testing.TB, args ...string) (*program, *node) {
	t.Helper()
	return fanout(t, []string{"FLEETWIRE_CONTROL_PLANE=true"}, args...)
}

// A production node with a control plane serves every route of protocol §5, and
// counts them by route, method and status, whatever callers make up.
func TestFanoutWithControlPlane(t *testing.T) {
	key := newKey("control", "devices/**").only("publish", "subscribe", "presence")
	redis := redistest.Start(t)
	doc := documentFile(t, newApp("app_control", key))
	p, n := controlPlane(t, "-redis", redis.URL(), "-apps", doc)

	token := n.mint(t, key, `{"peerId":"camera-001","channels":["devices/camera-001/*"],"permissions":["subscribe"]}`)
	camera := n.connect(t, token).subscribe("devices/camera-001/commands")
	if got := n.publish(t, key, "devices/camera-001/commands", `{"cmd":"reboot"}`); got != 1 {
		t.Errorf("subscribers: %d, want 1", got)
	}
	camera.expectMessage("devices/camera-001/commands", "server", `{"cmd":"reboot"}`)
	if got := n.peers(t, key, "devices/camera-001/commands"); got != "camera-001" {
		t.Errorf("peers: %q, want camera-001", got)
	}
	for _, c := range []struct {
		method, path, credential string
		status                   int
	}{
		{"GET", "/v1/usage", key.credential(), 200},
		{"GET", "/v1/usage/channels", key.credential(), 200},
		{"GET", "/v1/usage/peers", "", 401},
		{"GET", "/v1/tokens", key.credential(), 405},
		{"PATCH", "/v1/tokens", key.credential(), 405},
		{"GET", "/made/up/path", key.credential(), 404},
		{"DELETE", "/v1/peers/camera-001", key.credential(), 200},
	} {
		if a, err := n.call(c.method, c.path, c.credential, ""); err != nil || a.status != c.status {
			t.Errorf("%s %s: %v, %d %s, want %d", c.method, c.path, err, a.status, a.body, c.status)
		}
	}
	camera.expectClose(4020)

	metrics := n.metrics(t)
	for _, line := range []string{
		`fleetwire_http_requests_total{method="POST",route="/v1/tokens",status="200"} 1`,
		`fleetwire_http_requests_total{method="POST",route="/v1/channels/{channel}/publish",status="200"} 1`,
		`fleetwire_http_requests_total{method="GET",route="/v1/usage/peers",status="401"} 1`,
		`fleetwire_http_requests_total{method="PATCH",route="/v1/tokens",status="405"} 1`,
		`fleetwire_http_requests_total{method="GET",route="none",status="404"} 1`,
		`fleetwire_http_requests_total{method="DELETE",route="/v1/peers/{peer}",status="200"} 1`,
		`fleetwire_http_request_seconds_count{method="POST",route="/v1/channels/{channel}/publish"} 1`,
		`fleetwire_publishes_total{result="ok"} 1`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	for _, madeUp := range []string{"camera-001", "/made"} {
		if strings.Contains(metrics, madeUp) {
			t.Errorf("/metrics has %q, which a caller made up", madeUp)
		}
	}
	if t.Failed() {
		t.Log(metrics)
	}
	if a, err := n.call("GET", "/console/", "", ""); err != nil || a.status != 404 { // without -console
		t.Errorf("GET /console/: %v, %d %s, want 404", err, a.status, a.body)
	}
	p.terminate()
}

// metrics asks /metrics.
func (n *node) metrics(t testing.TB) string {
	t.Helper()
	resp, err := web.Get("http://" + n.ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// While a node drains its sockets it goes on answering REST, and has each caller
// close its connection. Once the last socket is closed it accepts nothing more.
func TestControlPlaneAnswersUntilTheSocketsAreGone(t *testing.T) {
	key := newKey("leaving", "**")
	redis := redistest.Start(t)
	p, n := controlPlane(t, "-redis", redis.URL(), "-apps", documentFile(t, newApp("app_leaving", key)), "-drain", "1h")
	backend := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	defer backend.CloseIdleConnections()
	publish := func() (*http.Response, error) {
		r, err := http.NewRequest("POST", "http://"+n.addr+"/v1/channels/a/publish", strings.NewReader(`{"data":1}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key.credential())
		resp, err := backend.Do(r)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return resp, err
	}
	device := n.connect(t, key.token("device", nil)).subscribe("a")
	if resp, err := publish(); err != nil || resp.StatusCode != 200 || resp.Close {
		t.Fatalf("%v, %+v; want 200 and a connection that stays", err, resp)
	}
	device.expectMessage("a", "server", "1")

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if frame := device.next(); !goingAway.MatchString(frame) {
		t.Fatalf("got %s, want going_away", frame)
	}
	for range 2 { // on the connection from before, and on a new one
		resp, err := publish()
		if err != nil || resp.StatusCode != 200 || !resp.Close {
			t.Fatalf("while draining: %v, %+v; want 200 and Connection: close", err, resp)
		}
		device.expectMessage("a", "server", "1")
	}
	if status, why := n.ready(); status != 503 || !strings.Contains(why, "draining") {
		t.Errorf("/readyz while draining: %d %s", status, why)
	}
	n.refused(t, "token="+key.token("late", nil), 1001)

	device.leave()
}
