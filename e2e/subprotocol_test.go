package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// pythonPath is a Python with the websocket-client package.
func pythonPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("FLEETWIRE_PYTHON"), "python3", "/usr/bin/python3"} {
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "-c", "import websocket").Run() == nil {
			return path
		}
	}
	t.Skip("SKIPPED: no Python with websocket-client; to get it: scripts/install-test-deps, or apt-get install python3-websocket, or set FLEETWIRE_PYTHON to one that has it")
	return ""
}

const pythonConnects = `
import sys, websocket
url, *offered = sys.argv[1:]
ws = websocket.create_connection(url, timeout=20, subprotocols=offered or None)
assert '"type":"welcome"' in ws.recv()
print(ws.getsubprotocol() or "none")
ws.close()
`

// Python's websocket-client gives up when it offered subprotocols and none is chosen.
// npm/client.mjs and npm/browser.mjs show the same of ws and of Chromium.
func TestSubprotocolInPython(t *testing.T) {
	python := pythonPath(t)
	key := newKey("subprotocol", "devices/**")
	onEachRedis(t, []*appDoc{newApp("app_subprotocol", key)}, func(t *testing.T, s *system) {
		url := "ws://" + s.first().addr + "/v1?token=" + key.token("device-1", nil)
		for _, offered := range [][]string{nil, {"fleetwire.v1"}, {"json", "mqtt"}} {
			out, err := exec.Command(python, append([]string{"-c", pythonConnects, url}, offered...)...).CombinedOutput()
			want := "none"
			if len(offered) > 0 {
				want = offered[0]
			}
			if got := strings.TrimSpace(string(out)); err != nil || got != want {
				t.Errorf("offered %q: %s %v, want %s", offered, got, err, want)
			}
		}
	})
}
