package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

const connectivity = "_system/connectivity/"

// peerState is what is said of a peer's connectivity.
type peerState struct {
	Online bool
	Epoch  int
	At     int64
	Reason string
	Code   int
}

// state reads the next frame as what is said of a peer's connectivity.
func (s *socket) state(channel string) peerState {
	s.t.Helper()
	return s.stateIn(s.next(), channel)
}

func (s *socket) stateIn(frame, channel string) (e peerState) {
	s.t.Helper()
	data, ok := strings.CutPrefix(frame, `{"type":"message","channel":`+quoted(channel)+`,"from":"_system","data":`)
	if err := json.Unmarshal([]byte(strings.TrimSuffix(data, "}")), &e); !ok || err != nil {
		s.t.Fatalf("%s: %s is not the state of %s (%v)", s.welcome.PeerID, frame, channel, err)
	}
	return e
}

// longGraceMs is a grace that does not end while a test runs, however slow the machine is.
const longGraceMs = 3_600_000

// endGraces gives the peers of connections that begin from now on next to no grace. app is the
// system's only one.
func (s *system) endGraces(app *appDoc) {
	s.t.Helper()
	after := *app
	after.GraceMs = 1
	s.apps.Replace(directory(s.t, &after))
}

// Those who may are told who comes and who goes, by name with the state as it is, and by
// wildcard.
func TestConnectivity(t *testing.T) {
	key := newKey("connectivity", "devices/**", connectivity+"**").only("subscribe", "publish", "presence")
	app := newApp("app_connectivity", key)
	app.GraceMs = longGraceMs
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		fleet := s.first().connect(t, key.token("fleet", claims{"channels": []string{connectivity + "**"}}))
		fleet.subscribe(connectivity + "cam*")
		one := s.last().connect(t, key.token("one", nil))
		const cam = connectivity + "cam%2F1%2A"
		one.subscribe(cam) // which is not known: nothing comes
		s.last().awaitPeer(t, key, "fleet", "is known", func(p *knownPeer) bool { return p.Online })
		for range 2 { // the node asks for states in one round trip after the other
			one.subscribe(connectivity + "fleet")
			if e := one.state(connectivity + "fleet"); !e.Online {
				t.Errorf("the fleet: %+v", e)
			}
		}
		one.unsubscribe(connectivity + "fleet")
		one.alive()

		d := s.first().connect(t, key.token("cam/1*", nil))
		for _, w := range []*socket{fleet, one} {
			if e := w.state(cam); !e.Online || e.Epoch != 1 || e.At == 0 || e.Code != 0 || e.Reason != "" {
				t.Errorf("it came: %+v", e)
			}
		}
		late := s.last().connect(t, key.token("late", nil))
		late.subscribe(cam)
		if e := late.state(cam); !e.Online || e.Epoch != 1 {
			t.Errorf("as it is: %+v", e)
		}
		late.subscribe(cam) // again
		late.state(cam)

		d.conn.Close()
		s.last().awaitPeer(t, key, "cam/1*", "is lost", func(p *knownPeer) bool { return p.LastDisconnect != nil })
		s.endGraces(app)                                  // for its next connection
		d = s.last().connect(t, key.token("cam/1*", nil)) // within its grace
		s.last().awaitPeer(t, key, "cam/1*", "is back", func(p *knownPeer) bool { return p.Epoch == 2 })
		d.leave()
		for _, w := range []*socket{fleet, one, late} {
			if e := w.state(cam); e.Online || e.Epoch != 2 || e.Code != 1000 || e.Reason != "closed" || e.At == 0 {
				t.Errorf("it went: %+v", e)
			}
		}
		s.first().connect(t, key.token("cam/1*", nil))
		for _, w := range []*socket{fleet, one, late} {
			if e := w.state(cam); !e.Online || e.Epoch != 3 {
				t.Errorf("it is back: %+v", e)
			}
		}
		late.unsubscribe(cam)
		late.alive()
		fleet.alive()
		one.alive()
	})
}

// No grant, pattern or token reaches the reserved channels unless it names them, and none
// may publish there.
func TestReservedChannelsStayClosed(t *testing.T) {
	wide := newKey("wide", "**").only("subscribe", "publish", "presence")
	names := newKey("names", "devices/**", connectivity+"cam-*", connectivity+"**").only("subscribe", "publish", "presence")
	blind := newKey("blind", connectivity+"**").only("subscribe", "publish")
	mute := newKey("deaf", connectivity+"**").only("publish", "presence")
	app := newApp("app_reserved", wide, names, blind, mute)
	app.GraceMs = 1
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		n := s.last()
		refuse := func(d *socket, what, channel, code string, says ...string) {
			t.Helper()
			d.expectError(d.request(`"type":"`+what+`","data":1,"channel":`+quoted(channel)), code, says...)
		}
		everything := n.connect(t, wide.token("everything", nil)).subscribe("**", "*/**", "_s*/**", "*/connectivity/*")
		for _, channel := range []string{connectivity + "cam-1", connectivity + "*", "_system/**", "_system/x", "_metered/x"} {
			refuse(everything, "subscribe", channel, "channel_reserved")
		}
		some := n.connect(t, names.token("some", claims{"channels": []string{"devices/**"}}))
		refuse(some, "subscribe", connectivity+"cam-1", "channel_reserved")
		some = n.connect(t, names.token("some", claims{"channels": []string{"devices/**", connectivity + "cam-*"}}))
		some.subscribe(connectivity+"cam-*", connectivity+"cam-2")
		refuse(some, "subscribe", connectivity+"dog-1", "channel_not_authorized")
		refuse(some, "subscribe", connectivity+"*", "channel_not_authorized")
		refuse(some, "subscribe", "_system/other", "channel_reserved")
		refuse(some, "subscribe", connectivity+"..", "invalid_channel")
		refuse(some, "publish", connectivity+"cam-1", "channel_reserved")
		refuse(n.connect(t, blind.token("blind", nil)), "subscribe", connectivity+"cam-1", "action_not_permitted", "presence")
		refuse(n.connect(t, mute.token("deaf", nil)), "subscribe", connectivity+"cam-1", "action_not_permitted", "subscribe")

		for body, want := range map[string]string{
			`{"peerId":"p","channels":["` + connectivity + `cam-*"]}`: "200",
			`{"peerId":"p","channels":["` + connectivity + `**"]}`:    "200",
			`{"peerId":"p","channels":["_system/**"]}`:                "400 channel_reserved",
			`{"peerId":"p","channels":["_metered/x"]}`:                "400 channel_reserved",
		} {
			a, err := n.call("POST", "/v1/tokens", names.credential(), body)
			if err != nil {
				t.Fatal(err)
			}
			if want == "200" && a.status != 200 {
				t.Errorf("%s: %d %s", body, a.status, a.body)
			} else if want != "200" {
				a.wantError(t, 400, strings.Fields(want)[1])
			}
		}
		a, err := n.call("POST", "/v1/tokens", wide.credential(), `{"peerId":"p","channels":["`+connectivity+`cam-1"]}`)
		if err != nil {
			t.Fatal(err)
		}
		a.wantError(t, 400, "channel_reserved")
		n.refused(t, "token="+wide.token("p", claims{"channels": []string{connectivity + "**"}}), 4003, "connectivity")
		for _, path := range []string{"publish", "commands"} {
			a, err := n.call("POST", "/v1/channels/"+escaped(connectivity+"cam-1")+"/"+path, names.credential(), `{"data":1}`)
			if err != nil {
				t.Fatal(err)
			}
			a.wantError(t, 400, "channel_reserved")
		}
		a, err = n.call("GET", "/v1/channels/"+escaped(connectivity+"cam-2")+"/peers", names.credential(), "")
		if err != nil {
			t.Fatal(err)
		}
		a.wantError(t, 400, "channel_reserved")

		s.first().connect(t, names.token("cam-7", nil))
		if e := some.state(connectivity + "cam-7"); !e.Online {
			t.Errorf("%+v", e)
		}
		s.first().publish(t, wide, "devices/x", `1`)
		everything.expectMessage("devices/x", "server", `1`) // and nothing before it
	})
}
