package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Each connection's end is one line with its reason, whoever ended it; and in a
// whole run that puts credentials wherever they may go wrong, no line has any of
// them in it (which newSystem checks at the end of every test).
func TestLogs(t *testing.T) {
	key := newKey("logs", "**")
	paused := newKey("logs_paused", "**")
	suspended := newApp("app_paused", paused)
	suspended.Suspended = true
	s := startEmbedded(t, newApp("app_logs", key), suspended)
	n := s.first()
	token := key.token("by-token", claims{"metadata": map[string]any{"note": secretMark}, "peerMetadata": map[string]any{"note": secretMark}})

	n.connect(t, token).leave()
	gone := n.connect(t, key.token("by-network", nil))
	gone.conn.Close()
	bad := n.connect(t, key.token("by-server", nil))
	if err := bad.writeRaw(ws.NewTextFrame([]byte("\xff"))); err != nil {
		t.Fatal(err)
	}
	bad.expectClose(1007)
	n.refused(t, "token="+paused.token("by-refusal", nil), 4012)
	n.refused(t, "token="+token+"x", 4001)
	n.refused(t, "key="+queryEscape(key.credential()), 4001)
	n.refused(t, "token="+queryEscape(key.credential()), 4001)
	if d, err := n.dial(t, "key="+key.ID, http.Header{"Authorization": {"Bearer " + token + "x"}}); err == nil {
		d.expectClose(4001)
	}

	// By REST: in the path, in the query, in the body, in headers.
	for _, c := range []struct{ method, path, credential, body string }{
		{"POST", "/v1/tokens?token=" + token, key.Secret, `{}`},
		{"POST", "/v1/tokens/" + token, key.credential(), `{}`},
		{"GET", "/v1?token=" + token, "", ``},
		{"POST", "/v1/channels/" + token + "/publish", key.credential() + "x", `{"data":"` + token + `"}`},
		{"POST", "/v1/channels/a/publish", key.credential(), `{"data":"` + key.Secret + `"}`},
		{"POST", "/v1/tokens", key.credential(), `{"peerId":"` + token + `"}`},
		{"PATCH", "/" + key.credential(), key.credential(), key.Secret},
	} {
		if _, err := n.call(c.method, c.path, c.credential, c.body); err != nil {
			t.Fatal(err)
		}
	}
	d := n.connect(t, token)
	for _, frame := range []string{token, `{"type":"` + token + `"}`, `{"type":"subscribe","channel":"_system/` + key.Secret + `"}`, `{"type":"refresh","token":"` + token + `."}`} {
		d.send(frame)
		if !strings.HasPrefix(d.next(), `{"type":"error"`) {
			t.Errorf("%s is no error", frame)
		}
	}
	stopped := make(chan struct{})
	go func() {
		n.stop()
		close(stopped)
	}()
	if frame := d.next(); !goingAway.MatchString(frame) {
		t.Errorf("got %s, want going_away", frame)
	}
	d.expectClose(1001)
	<-stopped

	var lines []string
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `msg="connection ended"`) {
			lines = append(lines, line)
		}
	}
	for _, c := range []struct{ peer, by, code string }{
		{"by-token", "by=peer", "code=1000"},
		{"by-network", "by=network", "code=0"},
		{"by-server", "by=server", "code=1007"},
		{"by-token", "by=server", "code=1001"},
	} {
		found := 0
		for _, line := range lines {
			if strings.Contains(line, "peer="+c.peer+" ") && strings.Contains(line, c.by) && strings.Contains(line, c.code) {
				found++
				if strings.Contains(line, `reason=""`) && c.by != "by=peer" {
					t.Errorf("no reason: %s", line)
				}
			}
		}
		if found != 1 {
			t.Errorf("%d lines for the end of %s %s %s, want 1:\n%s", found, c.peer, c.by, c.code, strings.Join(lines, ""))
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d connections ended, want 4", len(lines))
	}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `msg="connection refused"`) && strings.Contains(line, `reason=""`) {
			t.Errorf("no reason: %s", line)
		}
	}
}

// The check that every test's logs go through does find things.
func TestLogsAreSearched(t *testing.T) {
	key := newKey("searched", "**")
	for name, line := range map[string]string{
		"a secret": "time=now msg=" + key.Secret + "\n",
		"a token":  "time=now url=/v1?token=" + key.token("p", claims{"exp": time.Now().Unix()}) + "\n",
	} {
		log, probe := new(logText), new(probe)
		_, _ = log.Write([]byte("time=now msg=harmless\n" + line))
		log.checkSecrecy(probe)
		if probe.errors != 1 {
			t.Errorf("%s in the log: %d errors, want 1", name, probe.errors)
		}
	}
}

// probe is a test that counts its errors instead of failing.
type probe struct {
	testing.TB
	errors int
}

func (p *probe) Helper()               {}
func (p *probe) Errorf(string, ...any) { p.errors++ }
