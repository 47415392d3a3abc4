package session

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/publish"
)

func pattern(t testing.TB, s string) *channel.Pattern {
	t.Helper()
	p, err := channel.Compile(s)
	check(t, err)
	return p
}

// Protocol §4.4: whatever a frame gets wrong is answered with its code, and the
// connection stays open and works on.
func TestEveryErrorLeavesTheConnectionOpen(t *testing.T) {
	id129 := strings.Repeat("i", 129)
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	for _, tt := range []struct {
		name, frame string
		code        protocol.Code
		requestID   string
	}{
		{"empty", ``, protocol.MalformedMessage, ""},
		{"no JSON", `hello`, protocol.MalformedMessage, ""},
		{"JSON cut off", `{"type":"ping"`, protocol.MalformedMessage, ""},
		{"more behind it", `{"type":"ping"}{}`, protocol.MalformedMessage, ""},
		{"an array", `[{"type":"ping"}]`, protocol.MalformedMessage, ""},
		{"a string", `"ping"`, protocol.MalformedMessage, ""},
		{"null", `null`, protocol.MalformedMessage, ""},
		{"trailing comma", `{"type":"ping",}`, protocol.MalformedMessage, ""},
		{"NaN", `{"type":"publish","channel":"devices/a","data":NaN}`, protocol.MalformedMessage, ""},
		{"control character in a string", "{\"type\":\"ping\",\"x\":\"\x01\"}", protocol.MalformedMessage, ""},
		{"nested beyond all sense", `{"type":"publish","channel":"devices/a","data":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}`, protocol.MalformedMessage, ""},
		{"no type", `{"requestId":"r1"}`, protocol.MalformedMessage, "r1"},
		{"type is a number", `{"type":1,"requestId":"r2"}`, protocol.MalformedMessage, "r2"},
		{"type is null", `{"type":null,"requestId":"r3"}`, protocol.MalformedMessage, "r3"},
		{"type in capitals", `{"type":"PING","requestId":"r4"}`, protocol.UnknownType, "r4"},
		{"unknown type", `{"type":"shout","requestId":"r5"}`, protocol.UnknownType, "r5"},
		{"a server frame's type", `{"type":"welcome","requestId":"r6"}`, protocol.UnknownType, "r6"},
		{"requestId is a number", `{"type":"subscribe","channel":"devices/a","requestId":7}`, protocol.MalformedMessage, ""},
		{"requestId is empty", `{"type":"subscribe","channel":"devices/a","requestId":""}`, protocol.MalformedMessage, ""},
		{"requestId of 129 bytes", `{"type":"subscribe","channel":"devices/a","requestId":"` + id129 + `"}`, protocol.MalformedMessage, ""},
		{"channel is a number", `{"type":"subscribe","channel":7,"requestId":"r7"}`, protocol.MalformedMessage, "r7"},
		{"channel is null", `{"type":"publish","channel":null,"data":1,"requestId":"r8"}`, protocol.MalformedMessage, "r8"},
		{"includeSenderMetadata is a string", `{"type":"subscribe","channel":"devices/a","includeSenderMetadata":"true","requestId":"r9"}`, protocol.MalformedMessage, "r9"},
		{"publish without data", `{"type":"publish","channel":"devices/a","requestId":"r10"}`, protocol.MissingData, "r10"},
		{"publish without channel", `{"type":"publish","data":1,"requestId":"r11"}`, protocol.InvalidChannel, "r11"},
		{"subscribe without channel", `{"type":"subscribe","requestId":"r12"}`, protocol.InvalidChannel, "r12"},
		{"unsubscribe without channel", `{"type":"unsubscribe","requestId":"r13"}`, protocol.InvalidChannel, "r13"},
		{"subscribe to an empty channel", `{"type":"subscribe","channel":"","requestId":"r14"}`, protocol.InvalidChannel, "r14"},
		{"subscribe to 257 bytes", `{"type":"subscribe","channel":"devices/` + strings.Repeat("c", 249) + `","requestId":"r15"}`, protocol.InvalidChannel, "r15"},
		{"subscribe with a control character", `{"type":"subscribe","channel":"devices/\u0007","requestId":"r16"}`, protocol.InvalidChannel, "r16"},
		{"subscribe with a C1 control character", `{"type":"subscribe","channel":"devices/\u009f","requestId":"r17"}`, protocol.InvalidChannel, "r17"},
		{"subscribe to a level ..", `{"type":"subscribe","channel":"devices/../secret","requestId":"r18"}`, protocol.InvalidChannel, "r18"},
		{"subscribe to a pattern with a level .", `{"type":"subscribe","channel":"devices/./*","requestId":"r19"}`, protocol.InvalidChannel, "r19"},
		{"subscribe to a reserved channel", `{"type":"subscribe","channel":"_internal/x","requestId":"r20"}`, protocol.ChannelReserved, "r20"},
		{"subscribe to a reserved pattern", `{"type":"subscribe","channel":"_metered/**","requestId":"r21"}`, protocol.ChannelReserved, "r21"},
		{"subscribe to a foreign channel", `{"type":"subscribe","channel":"other/a","requestId":"r22"}`, protocol.ChannelNotAuthorized, "r22"},
		{"subscribe to a wider pattern than the key's", `{"type":"subscribe","channel":"fleets/**","requestId":"r23"}`, protocol.ChannelNotAuthorized, "r23"},
		{"subscribe to everything", `{"type":"subscribe","channel":"**","requestId":"r24"}`, protocol.ChannelNotAuthorized, "r24"},
		{"unsubscribe from a level ..", `{"type":"unsubscribe","channel":"devices/../x","requestId":"r25"}`, protocol.InvalidChannel, "r25"},
		{"unsubscribe from a bad pattern", `{"type":"unsubscribe","channel":"../*","requestId":"r26"}`, protocol.InvalidChannel, "r26"},
		{"send to a number", `{"type":"send","to":7,"data":1,"requestId":"r27"}`, protocol.MalformedMessage, "r27"},
		{"send to nobody", `{"type":"send","data":1,"requestId":"r28"}`, protocol.InvalidPeerID, "r28"},
		{"send to an empty peer", `{"type":"send","to":"","data":1,"requestId":"r29"}`, protocol.InvalidPeerID, "r29"},
		{"send without data", `{"type":"send","to":"p","requestId":"r30"}`, protocol.MissingData, "r30"},
		{"refresh with a number", `{"type":"refresh","token":7,"requestId":"r31"}`, protocol.MalformedMessage, "r31"},
		{"refresh without token", `{"type":"refresh","requestId":"r32"}`, protocol.InvalidToken, "r32"},
		{"refresh with an empty token", `{"type":"refresh","token":"","requestId":"r33"}`, protocol.InvalidToken, "r33"},
		{"refresh with no JWT", `{"type":"refresh","token":"sk_test:0123456789abcdef0123456789abcdef","requestId":"r34"}`, protocol.InvalidToken, "r34"},
		{"will without channel", `{"type":"will","data":1,"requestId":"r35"}`, protocol.InvalidChannel, "r35"},
		{"will without data", `{"type":"will","channel":"devices/a","requestId":"r36"}`, protocol.MissingData, "r36"},
		{"will with a negative delay", `{"type":"will","channel":"devices/a","data":1,"delayMs":-1,"requestId":"r37"}`, protocol.MalformedMessage, "r37"},
		{"will over 4 KiB", `{"type":"will","channel":"devices/a","requestId":"r38","data":"` + strings.Repeat("x", 4095) + `"}`, protocol.MalformedMessage, "r38"},
		{"will on a pattern", `{"type":"will","channel":"devices/*","data":1,"requestId":"r39"}`, protocol.InvalidChannel, "r39"},
		{"will on a reserved channel", `{"type":"will","channel":"_system/connectivity/device-1","data":1,"requestId":"r40"}`, protocol.ChannelReserved, "r40"},
		{"will on a foreign channel", `{"type":"will","channel":"other/a","data":1,"requestId":"r41"}`, protocol.ChannelNotAuthorized, "r41"},
		{"errors come without a requestId, too", `{"type":"subscribe","channel":"other/a"}`, protocol.ChannelNotAuthorized, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.TB = t
			p.Write(text(tt.frame))
			p.Want(anError(tt.code, tt.requestID), alive)
			p.Write(frame{Op: ws.OpBinary, Payload: tt.frame}.Bytes())
			p.Want(anError(tt.code, tt.requestID), alive)
		})
	}
	p.TB = t
	if n := len(w.interest.subscribers); n != 0 {
		t.Errorf("%d subscriptions came of it", n)
	}
	if m := w.publisher.published(); len(m) != 0 {
		t.Errorf("%d messages came of it", len(m))
	}
	if n := len(w.wills.sets); n != 0 {
		t.Errorf("%d wills came of it", n)
	}
}

// Protocol §4.4: shape → name → reserved → action → authorization.
func TestChecksComeInOrder(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.Actions = 0
	p := w.connect(grant)
	for _, tt := range []struct {
		frame string
		code  protocol.Code
	}{
		{`{"type":"subscribe","channel":"_system/../x","includeSenderMetadata":1,"requestId":"r"}`, protocol.MalformedMessage},
		{`{"type":"subscribe","channel":"_system/../x","requestId":"r"}`, protocol.InvalidChannel},
		{`{"type":"subscribe","channel":"_system/x","requestId":"r"}`, protocol.ChannelReserved},
		{`{"type":"subscribe","channel":"_system/*","requestId":"r"}`, protocol.ChannelReserved},
		{`{"type":"subscribe","channel":"other/x","requestId":"r"}`, protocol.ActionNotPermitted},
		{`{"type":"subscribe","channel":"other/*","requestId":"r"}`, protocol.ActionNotPermitted},
		{`{"type":"subscribe","channel":"devices/x","requestId":"r"}`, protocol.ActionNotPermitted},
		{`{"type":"will","channel":"_system/../x","data":1,"delayMs":"1","requestId":"r"}`, protocol.MalformedMessage},
		{`{"type":"will","channel":"_system/../x","data":1,"requestId":"r"}`, protocol.InvalidChannel},
		{`{"type":"will","channel":"_system/x","data":1,"requestId":"r"}`, protocol.ChannelReserved},
		{`{"type":"will","channel":"other/x","data":1,"requestId":"r"}`, protocol.ActionNotPermitted},
	} {
		p.Write(text(tt.frame))
		p.Want(anError(tt.code, "r"))
	}
}

// A claimed pattern and a key pattern must each allow it (protocol §3, §4.2).
func TestSubscribeNeedsTokenAndKey(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.Patterns = []*channel.Pattern{pattern(t, "devices/device-1/*"), pattern(t, "other/**")}
	p := w.connect(grant)
	for _, tt := range []struct {
		channel string
		allowed bool
	}{
		{"devices/device-1/commands", true},
		{"devices/device-2/commands", false}, // the key's, not the token's
		{"other/x", false},                   // the token's, not the key's
		{"devices/device-1/*", true},
		{"devices/device-1/c*s", true},
		{"devices/device-1/**", false},
		{"devices/*/commands", false},
		{`devices/device-1/\\*`, true}, // in JSON: an escaped star, so a name
	} {
		p.Write(text(`{"type":"subscribe","channel":"` + tt.channel + `","requestId":"r"}`))
		if tt.allowed {
			p.Want(anAck("r"))
		} else {
			p.Want(anError(protocol.ChannelNotAuthorized, "r"))
		}
	}

	grant = w.grant("device-2")
	grant.Patterns = []*channel.Pattern{} // channels: []
	p = w.connect(grant)
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"r"}`))
	p.Want(anError(protocol.ChannelNotAuthorized, "r"))
}

func TestRequestIDs(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))

	// Without one, success is silent: the next frame is the pong.
	p.Write(text(`{"type":"subscribe","channel":"devices/a"}`), text(`{"type":"publish","channel":"devices/a","data":1}`), text(`{"type":"unsubscribe","channel":"devices/a"}`))
	p.Want(alive)
	// A ping has none.
	p.Write(text(`{"type":"ping","requestId":"r"}`), text(`{"type":"ping","requestId":17}`))
	p.Want(aText(pong), aText(pong))

	long := strings.Repeat("i", 128)
	for sent, answered := range map[string]string{
		"1": "1", long: long, `\u0041\n`: `A\n`, `a\"b\\`: `a\"b\\`, "é😀": "é😀", `\ud83d\ude00`: "😀", " ": " ",
	} {
		p.Write(text(`{"type":"publish","channel":"devices/a","data":1,"requestId":"` + sent + `"}`))
		p.Want(aText(`{"type":"ack","requestId":"` + answered + `"}`))
	}
	// One id may be used again, and for frames that are under way.
	p.Write(join(text(`{"type":"publish","channel":"devices/a","data":1,"requestId":"r"}`), text(`{"type":"publish","channel":"devices/a","data":1,"requestId":"r"}`)))
	p.Want(anAck("r"), anAck("r"))
}

func TestUnsubscribe(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	p.Write(text(`{"type":"unsubscribe","channel":"devices/never","requestId":"r1"}`), text(`{"type":"unsubscribe","channel":"other/foreign","requestId":"r2"}`),
		text(`{"type":"unsubscribe","channel":"devices/*","requestId":"r3"}`))
	p.Want(anAck("r1"), anAck("r2"), anAck("r3"))

	for _, name := range []string{"devices/a", "devices/*"} {
		p.Write(text(`{"type":"subscribe","channel":"` + name + `","requestId":"s"}`))
		p.Want(anAck("s"))
		if n := w.interest.subscribersOf(name); n != 1 {
			t.Fatalf("%s has %d subscribers, want 1", name, n)
		}
		p.Write(text(`{"type":"unsubscribe","channel":"` + name + `","requestId":"u"}`))
		p.Want(anAck("u"))
		if n := w.interest.subscribersOf(name); n != 0 {
			t.Fatalf("%s has %d subscribers, want none", name, n)
		}
	}
}

func TestHundredSubscriptions(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	subscribe := func(name string, want want) {
		t.Helper()
		p.Write(text(`{"type":"subscribe","channel":"` + name + `","requestId":"r"}`))
		p.Want(want)
	}
	for i := range 50 {
		subscribe(fmt.Sprint("devices/", i), anAck("r"))
		subscribe(fmt.Sprint("devices/", i, "/*"), anAck("r"))
	}
	subscribe("devices/100", anError(protocol.ChannelLimitExceeded, "r"))
	subscribe("devices/100/*", anError(protocol.ChannelLimitExceeded, "r"))
	subscribe("devices/7", anAck("r")) // again is fine
	subscribe("devices/7/*", anAck("r"))
	p.Write(text(`{"type":"unsubscribe","channel":"devices/7","requestId":"u"}`))
	p.Want(anAck("u"))
	subscribe("devices/100", anAck("r"))
	subscribe("devices/101", anError(protocol.ChannelLimitExceeded, "r"))
	if n := w.interest.subscribersOf("devices/100") + w.interest.subscribersOf("devices/101"); n != 1 {
		t.Errorf("%d of the last two are subscribed, want the first alone", n)
	}
	// The end gives up all of them.
	p.Write(closing(1000, ""))
	p.Want(aClose(1000, ""))
	p.wait()
	for name, n := range w.interest.subscribers {
		if n != 0 {
			t.Errorf("%s still has %d subscribers", name, n)
		}
	}
}

// The ack of a subscription is a promise: it comes when Redis has it.
func TestSubscribeIsAckedWhenLive(t *testing.T) {
	w := newWorld(t)
	w.lists.eager = true // so that the order of answers is that of the subscriptions
	p := w.connect(w.grant("device-1"))
	w.interest.set(nil, true)
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"r1"}`), text(`{"type":"subscribe","channel":"devices/*","requestId":"r2"}`),
		text(`{"type":"subscribe","channel":"devices/a","requestId":"r3"}`), text(`{"type":"subscribe","channel":"devices/*","requestId":"r4"}`))
	p.Want(alive) // no ack yet
	if n := w.interest.release(nil); n != 4 {
		t.Fatalf("Redis was asked %d times, want 4", n)
	}
	p.Want(anAck("r1"), anAck("r2"), anAck("r3"), anAck("r4"), alive)
}

func TestSubscribeWithoutRedis(t *testing.T) {
	w := newWorld(t)
	w.lists.eager = true // so that the order of answers is that of the subscriptions
	p := w.connect(w.grant("device-1"))
	subscribers := func(want int) {
		t.Helper()
		for _, name := range []string{"devices/a", "devices/*"} {
			if n := w.interest.subscribersOf(name); n != want {
				t.Fatalf("%s has %d subscribers, want %d", name, n, want)
			}
		}
	}
	both := [][]byte{text(`{"type":"subscribe","channel":"devices/a","requestId":"r1"}`), text(`{"type":"subscribe","channel":"devices/*","requestId":"r2"}`)}

	w.interest.set(errors.New("down"), false)
	p.Write(both...)
	p.Want(anError(protocol.BackendError, "r1"), anError(protocol.BackendError, "r2"), alive)
	subscribers(0)

	// Lost while it was under way.
	w.interest.set(nil, true)
	p.Write(both...)
	p.Want(alive)
	w.interest.release(receiver.ErrDown)
	p.Want(anError(protocol.BackendError, "r1"), anError(protocol.BackendError, "r2"), alive)
	subscribers(0)

	w.interest.set(nil, false)
	p.Write(both[0])
	p.Want(anAck("r1"))
	p.Write(both[1])
	p.Want(anAck("r2"))
	subscribers(1)
}

// Redis refuses a subscription at once, or later: the device is told so, and no name of
// Redis's users and keys, which Redis's words can have.
func TestSubscribeRefusedByRedis(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	refused := &receiver.RefusedError{Words: "NOPERM User fw has no permissions to access the 'fw:0:secret' channel", Pattern: true}
	frame := text(`{"type":"subscribe","channel":"devices/*","requestId":"r"}`)
	expect := func() {
		t.Helper()
		_, got := p.Read()
		for _, part := range []string{`"requestId":"r","code":"backend_error"`, "Redis refuses the subscription (NOPERM)", "PSUBSCRIBE", "not subscribed"} {
			if !strings.Contains(string(got), part) {
				t.Errorf("got %s\nwant %s in it", got, part)
			}
		}
		if strings.Contains(string(got), "fw") {
			t.Errorf("got %s, which tells what Redis's user and keys are called", got)
		}
		p.Want(alive)
		if n := w.interest.subscribersOf("devices/*"); n != 0 {
			t.Errorf("%d subscribers of what was refused", n)
		}
	}
	w.interest.set(refused, false)
	p.Write(frame)
	expect()
	w.interest.set(nil, true)
	p.Write(frame)
	p.Want(alive)
	w.interest.release(refused)
	expect()
}

func TestPublishHandsOnWhoSentIt(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("camera-1")
	grant.PeerMetadata = []byte(`{"site":"north"}`)
	p := w.connect(grant)
	for _, data := range []string{`null`, `1.0`, `1e400`, `12345678901234567890`, `"\u00e9\/"`, `{ "a" : [ 1 ,2 ] }`, `false`, `""`} {
		p.Write(text(`{"type":"publish","data": ` + data + ` ,"channel":"devices\/camera-1\/events","requestId":"r"}`))
		p.Want(anAck("r"))
		all := w.publisher.published()
		m := all[len(all)-1]
		if string(m.Data) != data || m.Channel != "devices/camera-1/events" || m.From != "camera-1" || m.Grant != grant ||
			!bytes.Equal(m.FromMetadata, grant.PeerMetadata) || m.Connection != p.session.ID() || m.CountSubscribers {
			t.Errorf("published %+v, data %s, want %s", m, m.Data, data)
		}
	}
}

// What the publisher refuses, at once or later, is told with its code.
func TestPublishRefused(t *testing.T) {
	for _, code := range []protocol.Code{
		protocol.InvalidChannel, protocol.ChannelReserved, protocol.ActionNotPermitted, protocol.ChannelNotAuthorized,
		protocol.OverMessageQuota, protocol.BackendError, protocol.InternalError,
	} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprint(code, ", later: ", later), func(t *testing.T) {
				w := newWorld(t)
				w.publisher.answer = func(publish.Message) (publish.Result, *protocol.Error) {
					e := protocol.Errorf(code, "")
					if later {
						return publish.Result{Err: e}, nil
					}
					return publish.Result{}, e
				}
				p := w.connect(w.grant("device-1"))
				p.Write(text(`{"type":"publish","channel":"devices/a","data":1,"requestId":"r"}`))
				p.Want(anError(code, "r"))
				p.Write(text(`{"type":"publish","channel":"devices/a","data":1}`))
				p.Want(anError(code, ""), alive)
			})
		}
	}
}

// A binary frame's message must be UTF-8 as well, but the connection stays.
func TestBinaryThatIsNotUTF8(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	p.Write(frame{Op: ws.OpBinary, Payload: "{\"type\":\"ping\",\"x\":\"\xed\xa0\x80\"}"}.Bytes())
	p.Want(anError(protocol.MalformedMessage, ""), alive)
	p.Write(frame{Op: ws.OpBinary}.Bytes())
	p.Want(anError(protocol.MalformedMessage, ""), alive)
}

// Protocol §6: a token bucket of frames, of whatever sort.
func TestRate(t *testing.T) {
	const reason = "over 10 frames per second (burst 5)"
	for name, frame := range map[string][]byte{
		"pings": text(ping), "ping frames": conntest.Ping(""), "pong frames": frame{Op: ws.OpPong}.Bytes(),
		"frames that are refused": text(`{}`), "fragments": frame{Op: ws.OpContinuation, Unfinished: true}.Bytes(),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.connect(w.limited("device-1", 10, 5))
			if name == "fragments" {
				// A connection with a burst of 6, of which the beginning takes one.
				p = w.connect(w.limited("device-1", 10, 6))
				p.Write([]byte{0x01, 0x80, 0, 0, 0, 0})
			}
			p.Write(bytes.Repeat(frame, 6))
			for {
				if p.PeekOp() == ws.OpClose {
					break
				}
				p.Read()
			}
			p.Want(aClose(4011, ""))
			if e := p.wait(); e.Code != protocol.CloseMessageRate || name != "fragments" && e.Reason != reason {
				t.Errorf("ended %+v", e)
			}
			if got := p.session.Received(); got > 7 || got < 6 {
				t.Errorf("%d frames were taken before the end", got)
			}
		})
	}
}

func TestRateRefills(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.limited("device-1", 10, 5))
	for range 5 {
		p.Want(alive)
	}
	for range 20 { // 10 a second, for ever
		w.clock.advance(100 * time.Millisecond)
		p.Want(alive)
	}
	w.clock.advance(time.Hour) // no more than the burst is saved up
	for range 5 {
		p.Want(alive)
	}
	p.Write(text(ping))
	p.Want(aClose(4011, ""))
}

// A close frame is never over the rate: it would hide why the peer left.
func TestRateSparesCloseFrames(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.limited("device-1", 1, 1))
	p.Want(alive)
	p.Write(closing(1000, ""))
	p.Want(aClose(1000, ""))
	if e := p.wait(); e.By != "peer" {
		t.Errorf("ended %+v, want by the peer", e)
	}
}

// deferred hands what is to be told of a message to the test.
type deferred chan publish.Completion

func (d deferred) Submit(_ publish.Message, done publish.Completion) *protocol.Error {
	d <- done
	return nil
}

// What becomes of a message is told when it is known, whether an ack was asked for or not.
func TestLateAnswersToAPublish(t *testing.T) {
	for _, requestID := range []string{"", "r"} {
		t.Run("requestId "+requestID, func(t *testing.T) {
			w := newWorld(t)
			submitted := make(deferred)
			w.opt.Publisher = submitted
			p := w.connect(w.grant("device-1"))
			frame := `{"type":"publish","channel":"devices/a","data":1}`
			var ack []want
			if requestID != "" {
				frame = `{"type":"publish","channel":"devices/a","data":1,"requestId":"r"}`
				ack = []want{anAck("r")}
			}
			p.Write(text(frame))
			done := <-submitted
			done.Published(publish.Result{})
			done.Flush()
			p.Want(append(ack, alive)...)

			p.Write(text(frame))
			done = <-submitted
			done.Published(publish.Result{Err: protocol.Errorf(protocol.OverMessageQuota, "used up")})
			done.Flush()
			p.Want(anError(protocol.OverMessageQuota, requestID), alive)
		})
	}
}
