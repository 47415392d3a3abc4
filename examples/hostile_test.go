package examples

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A program is an example that keeps a connection.
type program struct {
	name     string
	start    func(t *testing.T, url, tokenServer string) *process
	channels []string // what it subscribes to
	oneByOne bool     // it subscribes when the subscription before is acked
}

// connected starts the program with a fake service, on which it is welcomed and subscribed.
func (p program) connected(t *testing.T) (*fakeService, *process, *fakeSocket) {
	t.Helper()
	f := newFakeService(t)
	running := p.start(t, f.url, f.url)
	s := f.accept(t, "token-1")
	s.welcome(t, p.channels...)
	return f, running, s
}

// The longest pauses before the first retry and before any, in ms (docs/clients.md §4).
const firstPause, longestPause = 1000, 60_000

var (
	pythonCamera = program{"Python camera", func(t *testing.T, url, tokenServer string) *process {
		return startCamera(t, url, tokenServer, "1")
	}, cameraChannels, false}
	nodeCamera = program{"Node camera", func(t *testing.T, url, tokenServer string) *process {
		return start(t, "Node camera", append([]string{"FLEETWIRE_URL=" + url}, provisioned...), nodePath(t), "examples/node/camera.mjs",
			tokenServer, "--device", "camera-001", "--interval", "0.02", "--count", "1")
	}, cameraChannels, false}
	goCamera = program{"Go camera", func(t *testing.T, url, _ string) *process {
		return start(t, "Go camera", serviceEnv(url, keyID+":"+secret), built(t, "camera"), "-device", "camera-001", "-interval", "20ms", "-count", "1")
	}, cameraChannels, true}
	nodeIngester = program{"ingester", func(t *testing.T, url, _ string) *process {
		return start(t, "ingester", serviceEnv(url, keyID+":"+secret), nodePath(t), "examples/node/ingester.mjs",
			"--out", filepath.Join(t.TempDir(), "events.ndjson"))
	}, []string{"group ingest"}, false}

	cameras  = []program{pythonCamera, nodeCamera, goCamera}
	programs = append(slices.Clone(cameras), nodeIngester)

	cameraChannels = []string{"devices/camera-001/commands", "fleets/fleet-northeast/commands"}
)

// TestComesBack: an example that was cut off connects again and has all its
// subscriptions again, with a new token where the close code asks for one.
func TestComesBack(t *testing.T) {
	tests := []struct {
		name     string
		end      func(t *testing.T, s *fakeSocket, example *process)
		code     float64
		longest  float64 // the longest wait, ms
		newToken bool
	}{
		{"the node goes away", func(t *testing.T, s *fakeSocket, _ *process) {
			s.write(t, `{"type":"going_away","retryAfterMs":300}`)
			s.closeWith(t, 1001, "")
		}, 1001, 300, false},
		{"the node goes away later", func(t *testing.T, s *fakeSocket, example *process) {
			s.write(t, `{"type":"going_away","retryAfterMs":1500}`)
			s.write(t, `{"type":"error","code":"rate_limited","message":"too fast"}`)
			// Cameras print the first frame, the ingester the second.
			example.await(t, "that it has read going_away", 1, func(l line) bool { return l.is("going_away", nil) || l.is("error", nil) })
			time.Sleep(600 * time.Millisecond) // the example has a clock of its own
			s.closeWith(t, 1001, "")
		}, 1001, 900, false},
		{"the node goes away without closing", func(t *testing.T, s *fakeSocket, _ *process) {
			s.write(t, `{"type":"going_away","retryAfterMs":300}`)
			s.awaitClose(t) // the example leaves, and does not wait for the answer
		}, 1001, 0, false},
		{"the node goes away at no time", func(t *testing.T, s *fakeSocket, _ *process) {
			s.write(t, `{"type":"going_away","retryAfterMs":0}`)
			s.closeWith(t, 1001, "")
		}, 1001, firstPause, false},
		{"slow consumer", func(t *testing.T, s *fakeSocket, _ *process) { s.closeWith(t, 1008, "slow consumer") }, 1008, firstPause, false},
		{"nothing heard", func(t *testing.T, s *fakeSocket, _ *process) { s.closeWith(t, 4000, "") }, 4000, firstPause, false},
		{"token invalid", func(t *testing.T, s *fakeSocket, _ *process) { s.closeWith(t, 4001, "revoked") }, 4001, firstPause, true},
		{"token expired", func(t *testing.T, s *fakeSocket, _ *process) { s.closeWith(t, 4002, "") }, 4002, 0, true},
		{"the network is cut", func(t *testing.T, s *fakeSocket, _ *process) { s.cut(t) }, 1006, firstPause, false},
	}
	for _, p := range programs {
		for _, tt := range tests {
			t.Run(p.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				f, running, s := p.connected(t)
				running.awaitEvent(t, len(p.channels), "subscribed", nil)
				tt.end(t, s, running)
				l := running.awaitEvent(t, 1, "disconnected", map[string]any{"code": tt.code})
				if wait, ok := l.fields["retryInMs"].(float64); !ok || wait < 0 || wait > tt.longest {
					t.Errorf("it printed %s; want at most %v ms before the first retry", l.text, tt.longest)
				}
				token := "token-1"
				if tt.newToken {
					token = "token-2"
				}
				f.accept(t, token).welcome(t, p.channels...)
				running.awaitEvent(t, 2*len(p.channels), "subscribed", nil)
			})
		}
	}
}

// TestWaitsForAPlace: where the plan's connections are used up an example stays
// away for half a minute at least (docs/clients.md).
func TestWaitsForAPlace(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeService(t)
			running := p.start(t, f.url, f.url)
			f.accept(t, "token-1").closeWith(t, 4010, "full")
			l := running.awaitEvent(t, 1, "disconnected", map[string]any{"code": 4010.0})
			if wait, ok := l.fields["retryInMs"].(float64); !ok || wait < 30_000 {
				t.Errorf("it printed %s; want 30,000 ms or more", l.text)
			}
		})
	}
}

// TestStaysAway: after a close code that is final an example ends, and says why.
func TestStaysAway(t *testing.T) {
	for _, p := range programs {
		for _, code := range []ws.StatusCode{4003, 4012, 4020} {
			t.Run(p.name+"/"+strconv.Itoa(int(code)), func(t *testing.T) {
				t.Parallel()
				f := newFakeService(t)
				running := p.start(t, f.url, f.url)
				f.accept(t, "token-1").closeWith(t, code, "final")
				running.awaitEvent(t, 1, "stopped", map[string]any{"code": float64(code), "reason": "final"})
				if exit := running.wait(t); exit != 1 {
					t.Errorf("exit code %d, want 1", exit)
				}
				select {
				case <-f.socket:
					t.Error("it connected again")
				default:
				}
			})
		}
	}
}

// TestRefusedTokens: a token that is refused is worth one new one, and one that has
// expired another at once; what comes next waits, or is the end.
func TestRefusedTokens(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name+"/refused twice", func(t *testing.T) {
			t.Parallel()
			f := newFakeService(t)
			running := p.start(t, f.url, f.url)
			for n := 1; n <= 2; n++ { // a welcome in between forgives
				s := f.accept(t, fmt.Sprint("token-", n))
				if n == 2 {
					s.welcome(t, p.channels...)
				}
				s.closeWith(t, 4001, "unknown key")
				running.awaitEvent(t, n, "disconnected", map[string]any{"code": 4001.0})
			}
			f.accept(t, "token-3").closeWith(t, 4001, "still unknown")
			running.awaitEvent(t, 1, "stopped", map[string]any{"code": 4001.0, "reason": "still unknown"})
			if exit := running.wait(t); exit != 1 {
				t.Errorf("exit code %d, want 1", exit)
			}
		})
		t.Run(p.name+"/expired again and again", func(t *testing.T) {
			t.Parallel()
			f := newFakeService(t)
			running := p.start(t, f.url, f.url)
			longest := 0.0
			for n := 1; n <= 3; n++ {
				f.accept(t, fmt.Sprint("token-", n)).closeWith(t, 4002, "")
				wait, ok := running.awaitEvent(t, n, "disconnected", map[string]any{"code": 4002.0}).fields["retryInMs"].(float64)
				if !ok || n == 1 && wait != 0 {
					t.Errorf("expiry %d: it waits %v ms, want none after the first", n, wait)
				}
				longest = max(longest, wait)
			}
			if longest == 0 {
				t.Error("it asks for tokens that have expired as fast as it can")
			}
		})
	}
}

// TestRetryAfter: an upgrade that is refused for now says when to come back.
func TestRetryAfter(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeService(t)
			f.busy.Store(true)
			running := p.start(t, f.url, f.url)
			l := running.awaitEvent(t, 1, "disconnected", map[string]any{"code": 1006.0})
			if wait, ok := l.fields["retryInMs"].(float64); !ok || wait < 20_000 || wait > 20_000+firstPause {
				t.Errorf("it printed %s; want 20 s and a random part", l.text)
			}
			if reason, _ := l.fields["reason"].(string); !strings.Contains(reason, "429") {
				t.Errorf("it printed %s; want the status in its reason", l.text)
			}
		})
	}
}

// TestBacksOff: a service that answers nobody is not hammered; the waits grow.
// A jittered wait may be short by luck, so it is their bound that is checked:
// that a wait ever passes the first bound shows that it grows.
func TestBacksOff(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeService(t)
			running := p.start(t, f.url, f.url)
			bound := float64(firstPause)
			for n := 1; n <= 15; n++ {
				f.accept(t, "token-1").cut(t)
				l := running.awaitEvent(t, n, "disconnected", map[string]any{"code": 1006.0})
				wait, ok := l.fields["retryInMs"].(float64)
				if !ok || wait < 0 || wait > bound {
					t.Fatalf("attempt %d: it printed %s; want at most %v ms", n, l.text, bound)
				}
				if wait > firstPause {
					return
				}
				bound = min(2*bound, longestPause)
			}
			t.Error("15 waits in a row within the first one's bound; they do not grow")
		})
	}
}

// TestCameraPublishesAfterBothAcks: an event that goes out before the command
// channels are joined would let a command that answers it be missed.
func TestCameraPublishesAfterBothAcks(t *testing.T) {
	for _, p := range cameras {
		t.Run(p.name, func(t *testing.T) {
			f := newFakeService(t)
			running := p.start(t, f.url, f.url)
			s := f.accept(t, "token-1")
			s.write(t, `{"type":"welcome","peerId":"me","expiresAt":null,"serverTime":1,"maxMessageSize":65536}`)
			first, second := s.subscription(t, cameraChannels[0]), ""
			if !p.oneByOne {
				second = s.subscription(t, cameraChannels[1])
			}
			s.write(t, `{"type":"ack","requestId":%q}`, first)
			if p.oneByOne {
				second = s.subscription(t, cameraChannels[1])
			}
			// A command may come before the second ack. When it has been obeyed, the
			// first ack has done whatever it does, and an event would lie before the pong.
			s.write(t, `{"type":"message","channel":%q,"from":"server","data":{"cmd":"set-frame-rate","fps":1}}`, cameraChannels[0])
			running.awaitEvent(t, 1, "set-frame-rate", map[string]any{"fps": 1.0})
			if err := ws.WriteFrame(s, ws.NewPingFrame([]byte("still there?"))); err != nil {
				t.Fatal(err)
			}
			if got := s.read(t); got.opCode != ws.OpPong {
				t.Fatalf("it sent %+v before the second ack; want the pong", got)
			}
			s.write(t, `{"type":"ack","requestId":%q}`, second)
			got := s.read(t)
			var event struct {
				Event string
				Seq   int
			}
			if err := json.Unmarshal(got.Data, &event); err != nil || got.Type != "publish" || got.Channel != "devices/camera-001/events" || event.Event != "motion" || event.Seq != 1 {
				t.Fatalf("it sent %+v with %s; want motion event 1", got, got.Data)
			}
			s.write(t, `{"type":"error","requestId":%q,"code":"over_message_quota","message":"the plan is used up"}`, got.RequestID)
			running.awaitEvent(t, 1, "error", map[string]any{"code": "over_message_quota"})
		})
	}
}

// TestCameraIgnoresWhatIsNoCommand: what anyone with a key can publish to a
// command channel must not stop a camera.
func TestCameraIgnoresWhatIsNoCommand(t *testing.T) {
	strange := []string{`null`, `"reboot"`, `["cmd","reboot"]`, `{}`, `{"cmd":null}`, `{"cmd":{"cmd":"reboot"}}`, `{"cmd":"self-destruct"}`, `1e400`,
		`{"cmd":"set-frame-rate"}`, `{"cmd":"set-frame-rate","fps":"12"}`, `{"cmd":"set-frame-rate","fps":true}`,
		`{"cmd":"set-frame-rate","fps":0}`, `{"cmd":"set-frame-rate","fps":-1}`, `{"cmd":"set-frame-rate","fps":1e400}`}
	for _, p := range cameras {
		t.Run(p.name, func(t *testing.T) {
			_, running, s := p.connected(t)
			for _, data := range strange {
				s.write(t, `{"type":"message","channel":%q,"from":"x","data":%s}`, cameraChannels[1], data)
			}
			s.write(t, `{"type":"a-frame-of-the-future","data":[]}`)
			s.write(t, `{"type":"message","channel":%q,"from":"x","data":{"cmd":"reboot"}}`, cameraChannels[0])
			running.awaitEvent(t, 1, "reboot", nil)
			if n := running.count("unknown-command", nil); n != len(strange) {
				t.Errorf("%d unknown commands, want %d", n, len(strange))
			}
		})
	}
}

// TestSkipsWhatItCannotRead: a peer writes what it likes into data, and JSON
// libraries have limits of their own. Whatever comes, an example goes on.
func TestSkipsWhatItCannotRead(t *testing.T) {
	const depth = 20_000
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			_, running, s := p.connected(t)
			channel, last, event := p.channels[0], p.channels[len(p.channels)-1], "reboot"
			if p.name == nodeIngester.name {
				channel, last, event = "devices/a/events", "devices/b/events", "persisted"
			}
			for _, data := range []string{
				strings.Repeat("[", depth) + strings.Repeat("]", depth), strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth),
				strings.Repeat("9", 20_000), `{"cmd":` + strings.Repeat("9", 20_000) + `}`, `{"cmd":"\ud800"}`, `{"__proto__":null}`,
			} {
				s.write(t, `{"type":"message","channel":%q,"from":"x","data":%s,"ackId":"x","publishedAt":1,"attempt":1}`, channel, data)
			}
			for _, frame := range []string{`null`, `7`, `[]`, `{}`, `{"type":7}`, `{"type":"message"}`, `{"type":"message","channel":7,"data":1}`, `{"type":"error"}`,
				`{"type":"ack","requestId":"event-x"}`, `{"type":"ack","requestId":{}}`, `{"type":"going_away","retryAfterMs":"soon"}`, `{"type":"message",`} {
				s.write(t, "%s", frame)
			}
			s.write(t, `{"type":"message","channel":%q,"from":"x","data":{"cmd":"reboot"},"ackId":"y","publishedAt":1,"attempt":1}`, last)
			running.awaitEvent(t, 1, event, map[string]any{"channel": last})
			if n := running.count("disconnected", nil); n != 0 {
				t.Errorf("it disconnected %d times", n)
			}
		})
	}
}

// TestIngesterTrustsTheChannel: a device may write any id into its data; whose
// event it is says the channel, which the service has checked.
func TestIngesterTrustsTheChannel(t *testing.T) {
	_, running, s := nodeIngester.connected(t)
	s.write(t, `{"type":"message","channel":"devices/camera-007/events","from":"camera-007","data":{"device":"camera-001"},"ackId":"x","publishedAt":1767222000123,"attempt":2}`)
	running.awaitEvent(t, 1, "persisted", map[string]any{"device": "camera-007", "channel": "devices/camera-007/events", "publishedAt": "2025-12-31T23:00:00.123Z", "attempt": 2.0})
	if f := s.read(t); f.Type != "group_ack" || !slices.Equal(f.AckIDs, []string{"x"}) {
		t.Errorf("it sent %+v, want that it acknowledges x", f)
	}
}

// TestIngesterEndsWithItsGroup: an ingester whose subscription to the group has ended gets
// nothing any more. It ends, so that its supervisor notices.
func TestIngesterEndsWithItsGroup(t *testing.T) {
	for _, code := range []string{"group_not_found", "channel_not_authorized"} {
		t.Run(code, func(t *testing.T) {
			_, running, s := nodeIngester.connected(t)
			s.write(t, `{"type":"error","code":%q,"message":"unsubscribed from the group","group":"ingest"}`, code)
			if status := running.wait(t); status != 1 {
				t.Errorf("it ended with status %d, want 1", status)
			}
			if n := running.count("error", map[string]any{"code": code}); n != 1 {
				t.Errorf("it printed %d errors %s, want 1:\n%s", n, code, running.output())
			}
		})
	}
}

// TestSocket drives the example that localdev tells its user to paste.
func TestSocket(t *testing.T) {
	f := newFakeService(t)
	running := start(t, "socket", []string{"FLEETWIRE_URL=" + f.url}, built(t, "socket"),
		"-token", "given", "-subscribe", "devices/*/events", "-subscribe", "fleets/f/commands")
	s := f.accept(t, "given")
	s.welcome(t, "devices/*/events", "fleets/f/commands")
	running.await(t, "the second ack", 1, func(l line) bool { return l.text == `{"type":"ack","requestId":"fleets/f/commands"}` })
	s.closeWith(t, 4020, "bye")
	if exit := running.wait(t); exit != 1 {
		t.Errorf("exit code %d, want 1", exit)
	}
	if got, want := running.stderr(), "socket: the service closed the connection: 4020 bye\n"; got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
}
