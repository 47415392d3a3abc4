//go:build linux

package load_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"fleetwire/bench/internal/floor"
	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/wire"
)

// patience ends a test that hangs.
const patience = 20 * time.Second

func serve(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func newPool(t *testing.T, room int) (*load.Pool, context.Context) {
	t.Helper()
	p, err := load.NewPool(room)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return p, ctx
}

func specs(address string, n int, publishes ...string) []load.Spec {
	all := make([]load.Spec, n)
	for i := range all {
		all[i] = load.Spec{Address: address, Opening: wire.Floor{}.Open("", publishes, nil), Refusal: wire.Floor{}.Refusal(), Sample: true}
	}
	return all
}

func mustOpen(t *testing.T, p *load.Pool, ctx context.Context, specs []load.Spec) []int {
	t.Helper()
	opened, err := p.Open(ctx, specs, 8)
	if err != nil || opened.Failed > 0 || len(opened.Ready) != len(specs) {
		t.Fatalf("opened %+v, %v; want %d", opened, err, len(specs))
	}
	return opened.Ready
}

func TestEveryMessageIsCountedOnEveryConnection(t *testing.T) {
	const subscribers, messages = 30, 50
	address := serve(t, new(floor.Server))
	p, ctx := newPool(t, subscribers+1)
	numbers := mustOpen(t, p, ctx, specs(address, subscribers))
	w := p.Writer(mustOpen(t, p, ctx, specs(address, 1, "x"))[0])
	m := wire.Floor{}.Publish("x", wire.Body(300)) // its frames have the marker's value as a length
	p.Expect(subscribers * messages)
	took, err := load.Offer(ctx, messages, 100_000, func(_ int, due time.Duration) error { return w.Write(m, due) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Await(ctx, subscribers*messages, patience); err != nil {
		t.Fatalf("%d delivered in %v: %v", p.Delivered(), took, err)
	}
	for i, n := range p.Received(numbers) {
		if n != messages {
			t.Errorf("connection %d got %d messages, want %d", i, n, messages)
		}
	}
	samples := p.TakeSamples()
	if len(samples) != subscribers*messages || slices.Min(samples) < 0 || slices.Max(samples) > patience {
		t.Errorf("%d latencies from %v to %v; want %d", len(samples), slices.Min(samples), slices.Max(samples), subscribers*messages)
	}
	if problems := p.Problems(); len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
}

func TestDropMakesRoom(t *testing.T) {
	address := serve(t, new(floor.Server))
	p, ctx := newPool(t, 10)
	mustOpen(t, p, ctx, specs(address, 10))
	if _, err := p.Open(ctx, specs(address, 1), 1); err == nil {
		t.Fatal("an 11th connection in a pool of 10")
	}
	p.Drop()
	mustOpen(t, p, ctx, specs(address, 10))
}

func TestLostMessagesStall(t *testing.T) {
	p, ctx := newPool(t, 1)
	p.Expect(1)
	if _, err := p.Await(ctx, 1, time.Millisecond); !errors.Is(err, load.ErrStalled) {
		t.Errorf("%v, want ErrStalled", err)
	}
}

// hijacked answers the upgrade, then says what it is given and closes.
func hijacked(say []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		_, _ = conn.Write(say)
		_ = conn.Close()
	})
}

// A device answers a command whose frame comes in pieces, and nothing else.
func TestADeviceAnswers(t *testing.T) {
	answers := make(chan string, 2)
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		message := frame(ws.NewTextFrame([]byte(`{"type":"message","data":"~0000000000000000"}`)))
		command := frame(ws.NewTextFrame([]byte(`{"type":"message","data":"~0000000000000000","command":{"id":"cmd_1","attempt":1}}`)))
		_, _ = conn.Write(append(message, command[:len(command)/2]...))
		_, _ = conn.Write(append(command[len(command)/2:], command...))
		for range 2 {
			text, err := wsutil.ReadClientText(conn)
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- string(text)
		}
	}))
	p, ctx := newPool(t, 1)
	one := specs(address, 1)
	one[0].Answer = wire.CommandAnswer
	mustOpen(t, p, ctx, one)
	for range 2 {
		if got := <-answers; got != `{"type":"answer","command":"cmd_1","data":{"uptime":3}}` {
			t.Errorf("the device says %s", got)
		}
	}
}

func frame(f ws.Frame) []byte { return ws.MustCompileFrame(f) }

// bound is an address that no program listens on, and none can as long as the test runs.
func bound(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}

func TestWhyAConnectionDidNotOpen(t *testing.T) {
	nobody := bound(t)
	for _, tt := range []struct {
		name, address, want string
	}{
		{"nobody listens", nobody, "connection refused"},
		{"no upgrade", serve(t, http.NotFoundHandler()), "upgrade refused: HTTP/1.1 404"},
		{"closed with a code", serve(t, hijacked(frame(ws.NewCloseFrame(ws.NewCloseFrameBody(4001, "unknown key"))))), "closed by the server: 4001 unknown key"},
		{"ended", serve(t, hijacked(nil)), "ended the connection without a close frame"},
		{"refused", serve(t, hijacked(frame(ws.NewTextFrame([]byte(`{"type":"error","code":"channel_not_authorized"}`))))), "refused: {"},
		{"a bad address", "localhost:80", "must be IPv4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, ctx := newPool(t, 3)
			spec := load.Spec{Address: tt.address, Refusal: `{"type":"error"`, Opening: wire.Opening{
				Upgrade: wire.Floor{}.Open("", nil, nil).Upgrade, Steps: []wire.Step{{Expect: "welcome"}}}}
			opened, err := p.Open(ctx, []load.Spec{spec, spec, spec}, 1)
			if err != nil || opened.Failed != 3 || len(opened.Ready) != 0 || len(opened.Problems) != 1 {
				t.Fatalf("%+v, %v; want 3 failed for one reason", opened, err)
			}
			for why, n := range opened.Problems {
				if n != 3 || !strings.Contains(why, tt.want) {
					t.Errorf("%d × %q; want 3 × %q", n, why, tt.want)
				}
			}
		})
	}
}

// A server that asks to be tried again is, after a pause, and not for ever. Another code is
// final.
func TestTriedAgainLater(t *testing.T) {
	const refusals = 3
	later := frame(ws.NewCloseFrame(ws.NewCloseFrameBody(1013, "try again later")))
	var asked atomic.Int32
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= refusals {
			hijacked(append(frame(ws.NewTextFrame([]byte("something"))), later...)).ServeHTTP(w, r)
			return
		}
		hijacked(frame(ws.NewTextFrame([]byte("welcome")))).ServeHTTP(w, r)
	}))
	spec := load.Spec{Address: address, Refusal: "-ERR", Opening: wire.Opening{
		Upgrade: wire.Floor{}.Open("", nil, nil).Upgrade, Steps: []wire.Step{{Expect: "welcome"}}}}
	p, ctx := newPool(t, 3)
	opened, err := p.Open(ctx, []load.Spec{spec, spec}, 2)
	if err != nil || opened.Failed > 0 || len(opened.Ready) != 2 || opened.Retries != refusals {
		t.Fatalf("%+v, %v; want both open, after %d retries", opened, err, refusals)
	}
	asked.Store(-1000)
	waits, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if opened, err = p.Open(waits, []load.Spec{spec}, 1); !errors.Is(err, context.DeadlineExceeded) || opened.Failed > 0 || opened.Retries != 1 {
		t.Errorf("%+v, %v; want a pause", opened, err)
	}
	p.Drop() // and what waits is forgotten
}

func TestStepsInOneWrite(t *testing.T) {
	var say []byte
	for _, s := range []string{"INFO {}", "PONG\r\n", fmt.Sprintf(`{"t":"~%016x"}`, 1)} {
		say = append(say, frame(ws.NewBinaryFrame([]byte(s)))...)
	}
	p, ctx := newPool(t, 1)
	opened, err := p.Open(ctx, []load.Spec{{Address: serve(t, hijacked(say)), Opening: wire.NATS{}.Open("d", nil, []string{"x"}), Refusal: "-ERR"}}, 1)
	if err != nil || len(opened.Ready) != 1 {
		t.Fatalf("%+v, %v", opened, err)
	}
	p.Expect(1)
	if _, err := p.Await(ctx, 1, patience); err != nil {
		t.Errorf("the message right behind the answers: %v", err)
	}
}

func TestErrorsOfAReadyConnectionAreNotHidden(t *testing.T) {
	say := append(frame(ws.NewTextFrame([]byte(`-ERR 'slow'`))), frame(ws.NewTextFrame(wire.Body(100)))...)
	say = append(say, frame(ws.NewCloseFrame(ws.NewCloseFrameBody(1008, "slow consumer")))...)
	p, ctx := newPool(t, 1)
	if _, err := p.Open(ctx, []load.Spec{{Address: serve(t, hijacked(say)), Opening: wire.Floor{}.Open("", nil, nil), Refusal: "-ERR"}}, 1); err != nil {
		t.Fatal(err)
	}
	p.Expect(1)
	if _, err := p.Await(ctx, 1, patience); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Problems()); !strings.Contains(got, "refused: -ERR 'slow'") || !strings.Contains(got, "1008 slow consumer") {
		t.Errorf("problems: %s", got)
	}
}
