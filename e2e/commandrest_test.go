package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// createCommand is a request that may wait; its answer comes through the channel.
func (n *node) createCommand(t testing.TB, key *keyDoc, channel, body string) <-chan answer {
	t.Helper()
	answers := make(chan answer, 1)
	go func() {
		a, err := n.call("POST", "/v1/channels/"+escaped(channel)+"/commands", key.credential(), body)
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}()
	return answers
}

func (a answer) command(t testing.TB, status int) command {
	t.Helper()
	var c command
	if err := json.Unmarshal([]byte(a.body), &c); err != nil || a.status != status {
		t.Fatalf("%d %s, want a command with %d", a.status, a.body, status)
	}
	return c
}

// One HTTPS request, and the response is the device's answer.
func TestOneRequestOneAnswer(t *testing.T) {
	key, other := newKey("commands", "devices/**"), newKey("other", "**")
	narrow := newKey("narrow", "devices/b/**")
	onEachRedis(t, []*appDoc{newApp("app_commands", key, narrow), newApp("app_other", other)}, func(t *testing.T, s *system) {
		const channel = "devices/a/commands"
		none, err := s.first().call("POST", "/v1/channels/"+escaped(channel)+"/commands", key.credential(), `{"data":1}`)
		if err != nil {
			t.Fatal(err)
		}
		none.wantError(t, 409, "nobody_subscribed")

		device := s.last().connect(t, key.token("a", nil)).subscribe(channel)
		asked := s.first().createCommand(t, key, channel, `{"data":{ "cmd" : "reboot" },"waitMs":25000}`)
		id := device.nextCommand()
		device.acked(`"type":"answer","command":"` + id + `","status":"received"`)
		device.send(`{"type":"answer","command":"` + id + `","data":{ "uptime" : 3 }}`)
		a := <-asked
		c := a.command(t, 200)
		if c.ID != id || c.Status != "succeeded" || string(c.Answers[0].Data) != `{ "uptime" : 3 }` || !strings.Contains(a.body, `"data":{ "cmd" : "reboot" }`) {
			t.Errorf("%s", a.body)
		}

		for _, n := range s.nodes {
			for path, want := range map[string]int{"/v1/commands/" + id: 200, "/v1/commands/" + id + "/answers": 200, "/v1/channels/" + escaped(channel) + "/commands": 200} {
				if got, err := n.call("GET", path, key.credential(), ""); err != nil || got.status != want || !strings.Contains(got.body, `"uptime"`) {
					t.Errorf("%s: %d %s %v", path, got.status, got.body, err)
				}
			}
			for _, foreign := range []*keyDoc{other, narrow} {
				for _, method := range []string{"GET", "DELETE"} {
					got, err := n.call(method, "/v1/commands/"+id, foreign.credential(), "")
					if err != nil {
						t.Fatal(err)
					}
					got.wantError(t, 404, "command_not_found")
				}
			}
		}
	})
}

// A device that is away is handed the command when it is back, and whoever waits hears of
// its answer; a channel that is notified hears as well.
func TestCommandToADeviceThatIsAway(t *testing.T) {
	key := newKey("commands", "**")
	onEachRedis(t, []*appDoc{newApp("app_commands", key)}, func(t *testing.T, s *system) {
		const channel = "devices/a/commands"
		operator := s.first().connect(t, key.token("operator", nil)).subscribe("ops")
		created := (<-s.first().createCommand(t, key, channel, `{"data":1,"ttlMs":600000,"waitMs":0,"notify":"ops"}`)).command(t, 202)

		waiting := make(chan answer, 1)
		go func() {
			a, err := s.last().call("GET", "/v1/commands/"+created.ID+"?waitMs=25000", key.credential(), "")
			if err != nil {
				t.Error(err)
			}
			waiting <- a
		}()
		device := s.last().connect(t, key.token("a", nil)).subscribe(channel)
		if id := device.nextCommand(); id != created.ID {
			t.Fatalf("handed over %s, want %s", id, created.ID)
		}
		device.send(`{"type":"answer","command":"` + created.ID + `","status":"failed","data":"no power"}`)
		if c := (<-waiting).command(t, 200); c.Status != "failed" || string(c.Answers[0].Data) != `"no power"` {
			t.Errorf("%+v", c)
		}
		end := fmt.Sprintf(`"data":{"id":%q,"status":"failed","counts":{"sent":0,"received":0,"running":0,"succeeded":0,"failed":1,"rejected":0,"timedOut":0,"missing":0}}`, created.ID)
		notices := 0
		for begin := time.Now(); ; {
			frame := operator.next()
			notices++
			if !strings.HasPrefix(frame, `{"type":"message","channel":"ops","from":"_system",`) {
				t.Fatalf("the operator got %s", frame)
			}
			if strings.Contains(frame, end) {
				break
			}
			if time.Since(begin) > patience {
				t.Fatal("the end was not told")
			}
		}
		// The command is a message, and so is each snapshot.
		a, err := s.first().call("GET", "/v1/usage", key.credential(), "")
		if err != nil || !strings.Contains(a.body, fmt.Sprintf(`"messagesUsed":%d,`, 1+notices)) {
			t.Errorf("after %d snapshots the usage is %s, %v", notices, a.body, err)
		}
		operator.alive()
	})
}

// A node that stops has nobody wait for it.
func TestWaitingRequestsOfANodeThatStops(t *testing.T) {
	key := newKey("commands", "**")
	s := startEmbedded(t, newApp("app_commands", key))
	asked := s.first().createCommand(t, key, "devices/a", `{"data":1,"ttlMs":600000,"waitMs":25000}`)
	eventually(t, "the command is there", patience, func() bool {
		a, err := s.first().call("GET", "/v1/channels/devices%2Fa/commands", key.credential(), "")
		return err == nil && strings.Contains(a.body, `"status":"waiting"`)
	})
	begin := time.Now()
	s.first().stop()
	if c := (<-asked).command(t, 202); c.Status != "waiting" {
		t.Errorf("%+v", c)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it waited for %v", took)
	}
}

// A client that hangs up while it waits gives its place back at once. One that has only
// ended its side is answered.
func TestClientsThatHangUp(t *testing.T) {
	key := newKey("hangup", "**")
	app := newApp("app_hangup", key)
	redis, doc := redistest.Start(t), documentFile(t, app)
	t.Run("localdev", func(t *testing.T) {
		_, n := localdev(t, t.TempDir(), nil, "-redis", redis.URL(), "-apps", doc)
		testHangUp(t, key, n)
	})
	t.Run("fanout", func(t *testing.T) {
		_, n := controlPlane(t, "-redis", redis.URL(), "-apps", doc)
		testHangUp(t, key, n)
	})
}

func testHangUp(t *testing.T, key *keyDoc, n *node) {
	const most, soon = 1000, 15 * time.Second // soon is less than the requests may wait
	created := (<-n.createCommand(t, key, "devices/a", `{"data":1,"ttlMs":600000,"waitMs":0}`)).command(t, 202)
	conns, answered := make([]*net.TCPConn, most+1), make(chan string, most+1)
	var reading sync.WaitGroup
	wait := func() *net.TCPConn {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET /v1/commands/%s?waitMs=25000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", created.ID, key.credential()); err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			line, _ := bufio.NewReader(conn).ReadString('\n')
			answered <- line
		})
		return conn.(*net.TCPConn)
	}
	expect := func(what string) {
		t.Helper()
		select {
		case line := <-answered:
			if !strings.HasPrefix(line, "HTTP/1.1 202 ") {
				t.Fatalf("%s is answered %q, want 202", what, line)
			}
		case <-time.After(soon):
			t.Fatalf("%s is not answered within %v", what, soon)
		}
	}
	one := wait()
	defer one.Close()
	_ = one.CloseWrite()
	expect("a client that has ended its side")

	for i := range conns { // one more than may wait: when it is answered, the others wait
		conns[i] = wait()
		defer conns[i].Close()
	}
	expect("one over the bound")
	for _, conn := range conns {
		_ = conn.Close()
	}
	reading.Wait()
	eventually(t, "a request waits again", soon, func() bool {
		begin := time.Now()
		a, err := n.call("GET", "/v1/commands/"+created.ID+"?waitMs=500", key.credential(), "")
		if err != nil || a.status != 202 {
			t.Fatal(a, err)
		}
		return time.Since(begin) >= 500*time.Millisecond
	})
}
