package examples

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// TestStory is the product's story, told by the examples as real processes.
func TestStory(t *testing.T) {
	t.Run("two nodes on one Redis", func(t *testing.T) {
		redisURL := redistest.Start(t).URL()
		a := startService(t, "node A", "127.0.0.1:0", redisURL)
		b := startService(t, "node B", "127.0.0.1:0", redisURL)
		tellStory(t, a, b, keyID+"_secret_"+secret)

		// Node A is replaced by a new one on its address, as in a deployment; the
		// camera comes back by itself, and node B goes on.
		t.Run("a node is replaced", func(t *testing.T) {
			camera := startCamera(t, a.url, startTokenServer(t, keyID+":"+secret), "0")
			camera.awaitEvent(t, 2, "subscribed", nil)
			a.shutDown(t)
			camera.awaitEvent(t, 1, "going_away", nil)
			camera.awaitEvent(t, 1, "disconnected", map[string]any{"code": 1001.0})
			a = startService(t, "new node A", strings.TrimPrefix(a.url, "http://"), redisURL)
			camera.awaitEvent(t, 4, "subscribed", nil)
			controlPlane(t, b.url, keyID+":"+secret, "reboot", "camera-001").to(t, "devices/camera-001/commands", 1)
			camera.awaitEvent(t, 1, "reboot", nil)
		})
		a.shutDown(t)
		b.shutDown(t)
	})
	t.Run("one process with an embedded Redis", func(t *testing.T) {
		s := startService(t, "localdev", "127.0.0.1:0", "")
		tellStory(t, s, s, keyID+":"+secret)
		s.shutDown(t)
	})
}

// tellStory: cameras on node a, the ingester and the control plane on node b.
func tellStory(t *testing.T, a, b *service, key string) {
	t.Helper()
	const events = 5

	tokenServer := startTokenServer(t, key)
	out := filepath.Join(t.TempDir(), "events.ndjson")
	ingester := start(t, "ingester", serviceEnv(b.url, key), nodePath(t), "examples/node/ingester.mjs", "--out", out)
	ingester.awaitEvent(t, 1, "subscribed", map[string]any{"group": "ingest"})

	camera := startCamera(t, a.url, tokenServer, "5")
	camera.awaitEvent(t, 1, "welcome", map[string]any{"peerId": "camera-001"})
	camera.awaitEvent(t, 1, "subscribed", map[string]any{"channel": "devices/camera-001/commands"})
	camera.awaitEvent(t, 1, "subscribed", map[string]any{"channel": "fleets/fleet-northeast/commands"})

	// Every motion event is persisted, under the device's id, in order.
	ingester.awaitEvent(t, events, "persisted", map[string]any{"device": "camera-001"})
	checkPersisted(t, out, "camera-001", events)
	camera.awaitEvent(t, events, "published", nil)

	// One request each, to the device and to its fleet.
	controlPlane(t, b.url, key, "reboot", "camera-001").to(t, "devices/camera-001/commands", 1)
	controlPlane(t, b.url, key, "set-frame-rate", "fleet-northeast", "12").to(t, "fleets/fleet-northeast/commands", 1)
	status, body := call(t, "POST", b.url+cameraCommands, `{"data":{"cmd":"set-frame-rate","fps":7},"waitMs":20000}`)
	if status != 200 || !strings.Contains(body, `"status":"succeeded","data":{"fps": 7},"attempt":1`) {
		t.Errorf("the camera's answer: %d %s", status, body)
	}
	rebooted := map[string]any{"channel": "devices/camera-001/commands"}
	slowed := map[string]any{"channel": "fleets/fleet-northeast/commands", "fps": 12.0}
	camera.awaitEvent(t, 1, "reboot", rebooted)
	camera.awaitEvent(t, 1, "set-frame-rate", slowed)

	// A second camera of the fleet, in another language, with a minted token.
	second := start(t, "Go camera", serviceEnv(a.url, key), built(t, "camera"), "-device", "camera-002", "-interval", "20ms", "-count", "5")
	second.awaitEvent(t, 2, "subscribed", nil)
	ingester.awaitEvent(t, events, "persisted", map[string]any{"device": "camera-002"})
	checkPersisted(t, out, "camera-002", events)

	// What comes on a channel comes in order: once these later commands are here, a
	// second delivery of the earlier ones would be, too.
	controlPlane(t, b.url, key, "set-frame-rate", "camera-001", "30").to(t, "devices/camera-001/commands", 1)
	controlPlane(t, b.url, key, "set-frame-rate", "fleet-northeast", "31").to(t, "fleets/fleet-northeast/commands", 2)
	camera.awaitEvent(t, 1, "set-frame-rate", map[string]any{"fps": 30.0})
	for _, c := range []*process{camera, second} {
		c.awaitEvent(t, 1, "set-frame-rate", map[string]any{"fps": 31.0})
		if n := c.count("error", nil) + c.count("disconnected", nil) + c.count("unknown-command", nil); n > 0 {
			t.Errorf("%s had %d errors or interruptions", c.name, n)
		}
	}
	if n := camera.count("reboot", nil); n != 1 {
		t.Errorf("the camera rebooted %d times, want once", n)
	}
	if n := camera.count("set-frame-rate", slowed); n != 1 {
		t.Errorf("the camera took the fleet's frame rate %d times, want once", n)
	}
	if n := second.count("reboot", nil) + second.count("set-frame-rate", nil); n != 1 {
		t.Errorf("the second camera obeyed %d commands, want only the fleet's last one", n)
	}
	checkPersisted(t, out, "camera-001", events)

	camera.stop(t)
	second.stop(t)
	ingester.stop(t)
	// Nobody is there any more: the answer says so. The service learns of a
	// device's end on its own time, so this asks until it has.
	deadline := time.Now().Add(patience)
	for controlPlane(t, b.url, key, "reboot", "camera-001").subscribers != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("a command to a device that left still counts subscribers after %v", patience)
		}
	}
}

// call makes a request of a backend.
func call(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+keyID+":"+secret)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func serviceEnv(url, key string) []string {
	return []string{"FLEETWIRE_URL=" + url, "FLEETWIRE_SECRET_KEY=" + key}
}

func startTokenServer(t *testing.T, key string) (url string) {
	t.Helper()
	p := start(t, "token server", append([]string{"FLEETWIRE_SECRET_KEY=" + key}, provisioned...),
		pythonPath(t), "examples/python/token_server.py", "--port", "0")
	const prefix = "listening on "
	l := p.await(t, "line with its address", 1, func(l line) bool { return strings.HasPrefix(l.text, prefix) })
	return strings.TrimPrefix(l.text, prefix)
}

// startCamera starts the Python camera; it has no secret key.
func startCamera(t *testing.T, url, tokenServer, count string) *process {
	t.Helper()
	return start(t, "camera", append([]string{"FLEETWIRE_URL=" + url}, provisioned...), pythonPath(t), "examples/python/camera.py",
		tokenServer, "--device", "camera-001", "--interval", "0.02", "--count", count)
}

// A published is what control-plane.mjs printed.
type published struct {
	channel     string
	subscribers float64
}

func controlPlane(t *testing.T, url, key string, args ...string) published {
	t.Helper()
	cmd := exec.Command(nodePath(t), append([]string{"examples/node/control-plane.mjs"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(withoutFleetwire(os.Environ()), serviceEnv(url, key)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("control-plane %q: %v\n%s", args, err, exitStderr(err))
	}
	var answer struct {
		Channel     *string
		Subscribers *float64
	}
	if err := json.Unmarshal(out, &answer); err != nil || answer.Channel == nil || answer.Subscribers == nil {
		t.Fatalf("control-plane %q printed %q; want a channel and its subscribers", args, out)
	}
	return published{*answer.Channel, *answer.Subscribers}
}

func exitStderr(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Stderr
	}
	return nil
}

func (p published) to(t *testing.T, channel string, subscribers float64) {
	t.Helper()
	if p.channel != channel || p.subscribers != subscribers {
		t.Errorf("published to %s with subscribers %v; want %s, %v", p.channel, p.subscribers, channel, subscribers)
	}
}

// checkPersisted reads the ingester's file: the device's events are all there,
// once each, in the order sent.
func checkPersisted(t *testing.T, path, device string, events int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := 1
	for text := range strings.Lines(string(b)) {
		var record struct {
			Device, Channel string
			Data            struct {
				Event string
				Seq   int
			}
		}
		if err := json.Unmarshal([]byte(text), &record); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if record.Device != device {
			continue
		}
		if record.Channel != "devices/"+device+"/events" || record.Data.Event != "motion" || record.Data.Seq != next {
			t.Errorf("persisted %swant motion %d of %s", text, next, device)
		}
		next++
	}
	if next-1 != events {
		t.Errorf("%d events of %s are persisted, want %d", next-1, device, events)
	}
}
