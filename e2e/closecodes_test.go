package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/pkg/wstest"
)

// What closes a connection at once, by bytes alone (protocol §4.5, RFC 6455):
// the one that sent them, and no other.
func TestViolationsClose(t *testing.T) {
	key := newKey("violations", "**")
	big := strings.Repeat("x", 64<<10)
	text := func(s string) ws.Frame { return ws.NewTextFrame([]byte(s)) }
	fragment := func(op ws.OpCode, fin bool, s string) ws.Frame { return ws.NewFrame(op, fin, []byte(s)) }
	rsv := text(`{"type":"ping"}`)
	rsv.Header.Rsv = ws.Rsv(true, false, false)

	for _, c := range []struct {
		name   string
		frames []ws.Frame
		code   int
		says   string
	}{
		{"a frame of 64 KiB and 1", []ws.Frame{text(big + "y")}, 1009, "65536"},
		{"a binary frame of 1 MiB", []ws.Frame{ws.NewBinaryFrame(bytes.Repeat([]byte("x"), 1<<20))}, 1009, ""},
		{"fragments of 64 KiB and 1 together", []ws.Frame{fragment(ws.OpText, false, big), fragment(ws.OpContinuation, true, "y")}, 1009, ""},
		{"text that is not UTF-8", []ws.Frame{text("{\"type\":\"ping\",\"x\":\"\xff\"}")}, 1007, "UTF-8"},
		{"a reserved bit", []ws.Frame{rsv}, 1002, ""},
		{"an unknown opcode", []ws.Frame{fragment(0x3, true, "x")}, 1002, ""},
		{"a continuation of nothing", []ws.Frame{fragment(ws.OpContinuation, true, "x")}, 1002, ""},
		{"a new message within a message", []ws.Frame{fragment(ws.OpText, false, "{"), text("}")}, 1002, ""},
		{"a fragmented ping", []ws.Frame{fragment(ws.OpPing, false, "x")}, 1002, ""},
		{"a ping of 126 bytes", []ws.Frame{fragment(ws.OpPing, true, strings.Repeat("x", 126))}, 1002, ""},
		{"a close frame of one byte", []ws.Frame{fragment(ws.OpClose, true, "x")}, 1002, ""},
		{"a close frame with code 1005", []ws.Frame{ws.NewCloseFrame(ws.NewCloseFrameBody(1005, ""))}, 1002, ""},
		{"a close reason that is not UTF-8", []ws.Frame{ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "\xff"))}, 1007, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startedOnce(t, key)
			bystander := s.first().connect(t, key.token("bystander", nil)).subscribe("**")
			device := s.first().connect(t, key.token("camera", nil))
			for _, f := range c.frames {
				if err := device.writeRaw(f); err != nil {
					t.Fatal(err)
				}
			}
			device.expectCloseFrame(c.code, c.says)
			bystander.alive()
		})
	}

	t.Run("a frame without a mask", func(t *testing.T) {
		device := startedOnce(t, key).first().connect(t, key.token("camera", nil))
		if err := ws.WriteFrame(device.conn, text(`{"type":"ping"}`)); err != nil {
			t.Fatal(err)
		}
		device.expectClose(1002)
	})
	t.Run("the largest frame there may be", func(t *testing.T) {
		s := startedOnce(t, key)
		device := s.first().connect(t, key.token("camera", nil))
		ear := s.first().connect(t, key.token("ear", nil)).subscribe("a")
		frame := `{"type":"publish","channel":"a","data":"` + big
		frame = frame[:64<<10-2] + `"}`
		device.send(frame)
		ear.expect(strings.Replace(frame, `"publish","channel":"a"`, `"message","channel":"a","from":"camera"`, 1))
		device.alive()
	})
	t.Run("fragments, with a ping between them", func(t *testing.T) {
		device := startedOnce(t, key).first().connect(t, key.token("camera", nil))
		for _, f := range []ws.Frame{fragment(ws.OpText, false, `{"type":`), fragment(ws.OpPing, true, "hello"), fragment(ws.OpContinuation, false, `"pi`), fragment(ws.OpContinuation, true, `ng"}`)} {
			if err := device.writeRaw(f); err != nil {
				t.Fatal(err)
			}
		}
		pong, err := wstest.ReadFrame(device.in)
		if err != nil || pong.Header.OpCode != ws.OpPong || string(pong.Payload) != "hello" {
			t.Errorf("the answer to a ping is %v %q, %v", pong.Header, pong.Payload, err)
		}
		device.expect(`{"type":"pong"}`)
	})
}

// startedOnce is an embedded node for cases that leave no trace.
func startedOnce(t *testing.T, key *keyDoc) *system {
	t.Helper()
	return startEmbedded(t, newApp("app_once", key))
}

// A peer's own close is answered with its code (RFC 6455 §5.5.1).
func TestClosedByThePeer(t *testing.T) {
	key := newKey("leaves", "**")
	s := startedOnce(t, key)
	for _, c := range []struct {
		name   string
		body   []byte
		answer ws.StatusCode
	}{
		{"with code 1000", ws.NewCloseFrameBody(1000, "bye"), 1000},
		{"with code 1001", ws.NewCloseFrameBody(1001, ""), 1001},
		{"with a code of its own", ws.NewCloseFrameBody(4999, "out of battery"), 4999},
		{"without a code", nil, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			device := s.first().connect(t, key.token("camera", nil))
			if err := device.writeRaw(ws.NewCloseFrame(c.body)); err != nil {
				t.Fatal(err)
			}
			frame, err := wstest.ReadFrame(device.in)
			if err != nil || frame.Header.OpCode != ws.OpClose {
				t.Fatalf("the answer is %v, %v", frame.Header, err)
			}
			if code, _ := ws.ParseCloseFrameData(frame.Payload); code != c.answer && len(frame.Payload) > 0 {
				t.Errorf("answered with %d, want %d", code, c.answer)
			}
			if n, err := device.in.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("after the handshake: %d bytes, %v", n, err)
			}
		})
	}
}

// A connection that sends more than its rate is closed with 4011, and its
// messages up to then are delivered.
func TestMessageRate(t *testing.T) {
	key := newKey("rate", "**")
	app := newApp("app_rate", key)
	app.Limits.FramesPerSec, app.Limits.FramesBurst = 1, 10
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		ear := s.last().connect(t, key.token("ear", nil)).subscribe("a")
		hasty := s.first().connect(t, key.token("hasty", nil))
		patient := s.first().connect(t, key.token("patient", nil))
		var burst []byte
		for i := range 40 {
			burst = append(burst, ws.MustCompileFrame(ws.MaskFrameInPlace(ws.NewTextFrame(fmt.Appendf(nil, `{"type":"publish","channel":"a","data":%d}`, i))))...)
		}
		begin := time.Now()
		if _, err := hasty.conn.Write(burst); err != nil {
			t.Fatal(err)
		}
		hasty.expectClose(4011, "1 frames per second", "10")
		most := 10 + int(time.Since(begin)/time.Second) + 1
		// Connections take turns, so this one's first message may overtake some of the other's.
		// When it is acked, none of those waits any more.
		patient.publish("a", `"first"`)
		patient.publish("a", `"last"`)
		passed := 0
		for {
			frame := ear.next()
			if frame == message("a", "patient", `"first"`) {
				continue
			}
			if frame == message("a", "patient", `"last"`) {
				break
			}
			if want := message("a", "hasty", fmt.Sprint(passed)); frame != want {
				t.Fatalf("got %s, want %s", frame, want)
			}
			passed++
		}
		if passed < 10 || passed > most {
			t.Errorf("%d messages passed before the close, want 10 to %d", passed, most)
		}
	})
}

// A live connection is closed with 4002 a quarter of a second before its token
// expires, so that it is never served after that (protocol §4.5).
func TestExpiryOfALiveConnection(t *testing.T) {
	key := newKey("expiry", "**")
	s := startedOnce(t, key)
	exp := time.Now().Add(1500 * time.Millisecond)
	device := s.first().connect(t, key.token("camera", claims{"exp": float64(exp.UnixMicro()) / 1e6})).subscribe("a")
	other := s.first().connect(t, key.token("other", nil)).subscribe("a")
	s.first().publish(t, key, "a", "1")
	device.expectMessage("a", "server", "1")
	device.expectClose(4002, "expired")
	if early := time.Until(exp); early > 260*time.Millisecond {
		t.Errorf("closed %v before exp; it has until 250 ms before it", early)
	} else if early < -time.Second {
		t.Errorf("closed %v after exp", -early)
	}
	s.first().publish(t, key, "a", "2")
	other.expectMessage("a", "server", "1")
	other.expectMessage("a", "server", "2")
}

// A subscriber that does not read costs the node its bound of unsent bytes and
// is closed with 1008; everyone else gets everything meanwhile.
func TestSlowConsumer(t *testing.T) {
	key := newKey("slow", "**")
	onEachRedis(t, []*appDoc{newApp("app_slow", key)}, func(t *testing.T, s *system) {
		n := s.last()
		slow, err := n.dialWith(t, "token="+key.token("slow", nil), ws.Dialer{NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				// Little room in the kernel, so that it is the node that has to hold things.
				err = conn.(*net.TCPConn).SetReadBuffer(128 << 10)
			}
			return conn, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		slow.next()
		slow.subscribe("a")
		quick := n.connect(t, key.token("quick", nil)).subscribe("a")
		source := s.first().connect(t, key.token("source", nil))

		// A kernel takes some MiB for a socket by itself; this is more.
		const messages, size = 150, 60 << 10
		fill := strings.Repeat("f", size)
		data := func(i int) string { return fmt.Sprintf(`[%d,"%s"]`, i, fill) }
		for i := range messages {
			source.publish("a", data(i))
			quick.expectMessage("a", "source", data(i))
		}

		// It reads at last: whole frames in order as far as they went, then the close.
		got := 0
		for {
			frame, err := slow.read()
			var closed closedError
			if errors.As(err, &closed) {
				if closed.code != 1008 || closed.reason != "slow consumer" {
					t.Errorf("closed with %d %q", closed.code, closed.reason)
				}
				break
			}
			if err != nil {
				t.Fatalf("after %d messages: %v", got, err)
			}
			if frame != message("a", "source", data(got)) {
				t.Fatalf("message %d is %.100s", got, frame)
			}
			got++
		}
		if got == messages {
			t.Error("the slow connection got everything; the test is too weak")
		}
		quick.alive()
	})
}
