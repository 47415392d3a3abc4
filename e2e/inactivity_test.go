package e2e

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/wstest"
)

// A peer whose link dies without a word (a laptop's lid, a cut cable: nothing
// comes any more, and no FIN) is closed with 4000 within 75 s and leaves its
// channels; its will is published. One that is only quiet, and answers the pings, stays. This takes as
// long as it says, since the programs have no clock to turn: other tests run
// meanwhile.
func TestASilentlyDeadLink(t *testing.T) {
	const limit, slack = 75 * time.Second, 3 * time.Second
	const otherTests = 10 * time.Minute // more than they take
	key := newKey("silent", "**").only(everyAction...)
	listens := claims{"permissions": []string{"subscribe"}}
	redis := redistest.Start(t)
	app := newApp("app_silent", key)
	app.History = []ruleDoc{{"wills/**", 10, 3600}}
	doc := documentFile(t, app)
	program, node := fanout(t, nil, "-apps", doc, "-redis", redis.URL())
	_, control := localdev(t, t.TempDir(), nil, "-apps", doc, "-redis", redis.URL())

	quiet := node.connect(t, key.token("quiet", listens)).subscribe("devices/quiet")
	stayed := make(chan error, 1)
	go func() { stayed <- quiet.answerPings(otherTests, message("devices/quiet", "server", `"enough"`)) }()
	device := node.connect(t, key.token("device", claims{"permissions": []string{"subscribe", "publish"}})).subscribe("devices/dead", "devices/*/commands").setWill("")
	silentSince := time.Now() // it neither reads nor writes from here on

	for _, c := range []string{"devices/dead", "devices/quiet"} {
		if n := control.publish(t, key, c, `"hello"`); n != 1 {
			t.Fatalf("%s has %d subscribers, want 1", c, n)
		}
	}
	eventually(t, "it is the channel's peer", patience, func() bool { return control.peers(t, key, "devices/dead") == "device" })
	t.Parallel() // goes on when the tests that are not parallel have ended
	var ended string
	eventually(t, "the log says that the connection has ended", limit+slack, func() bool {
		for line := range strings.Lines(program.stderr.text()) {
			if strings.Contains(line, "connection ended") && strings.Contains(line, `"peer":"device"`) {
				ended = line
			}
		}
		return ended != ""
	})
	var line struct{ Time time.Time }
	if err := json.Unmarshal([]byte(ended), &line); err != nil {
		t.Fatal(err)
	}
	// The node counts in whole seconds, so one of them may be missing.
	if took := line.Time.Sub(silentSince); took < limit-2*time.Second || took > limit+slack {
		t.Errorf("closed after %v, want %v", took, limit)
	}
	for _, want := range []string{`"code":4000`, `"by":"server"`, `"reason":"nothing heard from you for 75 s"`} {
		if !strings.Contains(ended, want) {
			t.Errorf("the log line has no %s: %s", want, ended)
		}
	}
	for c, want := range map[string]int{"devices/dead": 0, "devices/quiet": 1} {
		if n := control.publish(t, key, c, `"enough"`); n != want {
			t.Errorf("%s has %d subscribers, want %d", c, n, want)
		}
	}
	eventually(t, "it is no peer of the channel any more", patience, func() bool { return control.peers(t, key, "devices/dead") == "" })
	p := control.awaitPeer(t, key, "device", "is offline", offline)
	if p.LastDisconnect.Code != 4000 || p.LastDisconnect.Reason != "inactive" {
		t.Errorf("its end in the registry: %+v", p.LastDisconnect)
	}
	eventually(t, "its will is published", patience, func() bool { return control.publishedWills(t, key, "device") == 1 })
	if err := <-stayed; err != nil {
		t.Errorf("the quiet one, which answers pings: %v", err)
	}

	// What the dead one would have read, had it come back to life.
	_ = device.conn.SetReadDeadline(time.Now().Add(patience))
	pings := 0
	for {
		f, err := wstest.ReadFrame(device.in)
		if err != nil {
			t.Fatalf("after %d pings: %v", pings, err)
		}
		if f.Header.OpCode == ws.OpPing {
			pings++
		}
		if f.Header.OpCode == ws.OpClose {
			if code, reason := ws.ParseCloseFrameData(f.Payload); code != 4000 || reason == "" {
				t.Errorf("closed with %d %q", code, reason)
			}
			break
		}
	}
	if pings < 2 || pings > 3 {
		t.Errorf("%d pings, want one every 25 s", pings)
	}
}

// answerPings does nothing else, until this frame comes.
func (s *socket) answerPings(limit time.Duration, last string) error {
	_ = s.conn.SetReadDeadline(time.Now().Add(limit))
	for {
		f, err := wstest.ReadFrame(s.in)
		switch {
		case err != nil:
			return err
		case f.Header.OpCode == ws.OpPing:
			if err := s.writeRaw(ws.NewPongFrame(f.Payload)); err != nil {
				return err
			}
		case f.Header.OpCode == ws.OpClose:
			code, reason := ws.ParseCloseFrameData(f.Payload)
			return closedError{int(code), reason}
		case string(f.Payload) == last:
			return nil
		}
	}
}

// A node that is killed gives no connection of the app's plan back itself: Redis
// does, within 30 s (protocol §6). The cap holds all the while, to the one.
func TestAKilledNodesConnectionsAreGivenBack(t *testing.T) {
	t.Parallel()
	const most, promised = 40, 30 * time.Second
	key := newKey("killed", "**")
	app := newApp("app_killed", key)
	app.Plan.Connections = most
	redis := redistest.Start(t)
	doc := documentFile(t, app)
	_, survivor := fanout(t, nil, "-apps", doc, "-redis", redis.URL())
	victim, dies := fanout(t, nil, "-apps", doc, "-redis", redis.URL())

	// try connects, and says whether there was a place.
	try := func(n *node) (bool, error) {
		_, err := n.tryEnter(t, "token="+key.token("camera", nil))
		var closed closedError
		if errors.As(err, &closed) && closed.code == 4010 {
			return false, nil
		}
		return err == nil, err
	}
	// rush has many connect at once, and counts those let in by each node.
	rush := func(tries int, nodes ...*node) (in [2]int) {
		t.Helper()
		let := make([]bool, tries)
		each(t, tries, func(i int) (err error) {
			let[i], err = try(nodes[i%len(nodes)])
			return err
		})
		for i, ok := range let {
			if ok {
				in[i%len(nodes)]++
			}
		}
		return in
	}
	in := rush(2*most, survivor, dies)
	if in[0]+in[1] != most || in[0] == 0 || in[1] == 0 {
		t.Fatalf("%v are let in, want %d over both nodes", in, most)
	}

	if err := victim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	<-victim.exited
	live := in[0]
	eventually(t, "all places of the killed node are in use again", promised-time.Since(killed), func() bool {
		live += rush(4, survivor)[0]
		if live > most {
			t.Fatalf("%d are connected, want at most %d", live, most)
		}
		return live == most
	})
	t.Logf("given back after %v", time.Since(killed).Round(time.Millisecond))
	if more := rush(20, survivor); more[0] != 0 {
		t.Errorf("%d more were let in over the cap", more[0])
	}
}
