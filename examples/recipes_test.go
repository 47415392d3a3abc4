package examples

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

// The recipes of docs/recipes.md, on two nodes: what is published on one is read on the other.
func TestRecipes(t *testing.T) {
	redisURL := redistest.Start(t).URL()
	a := startService(t, "node A", "127.0.0.1:0", redisURL)
	b := startService(t, "node B", "127.0.0.1:0", redisURL)
	t.Run("a device twin", func(t *testing.T) { deviceTwin(t, a, b) })
	t.Run("a dashboard", func(t *testing.T) { dashboard(t, a, b) })
	t.Run("a log that is stored", func(t *testing.T) { fleetLog(t, a, b) })
	t.Run("an ingester", func(t *testing.T) { ingester(t, a, b) })
	a.shutDown(t)
	b.shutDown(t)
}

// The entries of docs/recipes.md are good documents.
func TestEntriesOfRecipes(t *testing.T) {
	text, err := os.ReadFile("../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	types := map[apps.SinkType]bool{}
	for _, block := range regexp.MustCompile("(?s)```json\n(\"groups\":.*?)```").FindAllStringSubmatch(string(text), -1) {
		directory, err := apps.Parse([]byte(`{"apps":[{"id":"app_demo","keys":[{"id":"` + keyID + `","secret":"` + secret + `","channelPatterns":["**"],"actions":["publish"]}],` + block[1] + `}]}`))
		if err != nil {
			t.Fatalf("%s: %v", block[1], err)
		}
		app, _ := directory.App("app_demo")
		types[app.Groups[0].Sink.Type] = true
	}
	if len(types) != 5 {
		t.Errorf("entries for the types %v, want all five", types)
	}
}

// A receiver that checks signatures with the library of Standard Webhooks gets each message, also
// those that come while it does not run, and takes nothing that the service has not signed.
func TestWebhookRecipe(t *testing.T) {
	node := nodePath(t)
	const current, next = "whsec_ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	out := filepath.Join(t.TempDir(), "events.ndjson")
	begin := func(listen string) (*process, string) {
		p := start(t, "receiver", []string{"WEBHOOK_SECRET=" + current}, node, "examples/node/webhook.mjs", "--listen", listen, "--out", out)
		return p, fmt.Sprintf("127.0.0.1:%v", p.awaitEvent(t, 1, "listening", nil).fields["port"])
	}
	receiver, address := begin("127.0.0.1:0")
	s := startServiceWith(t, "service", "127.0.0.1:0", "", `,{"name":"crm","patterns":["devices/*/events"],
		"sink":{"type":"webhook","url":"http://`+address+`/fleetwire","secrets":["`+next+`","`+current+`"]}}`, "-sink-networks", "127.0.0.0/8")
	published := 0
	publish := func(n int) {
		for range n {
			published++
			if status, body := call(t, "POST", s.url+"/v1/channels/devices%2Fcam-7%2Fevents/publish", fmt.Sprintf(`{"data":%d}`, published)); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
		}
	}
	stored := func() (data string) {
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for one := range strings.Lines(string(text)) {
			var m struct{ Data json.RawMessage }
			if err := json.Unmarshal([]byte(one), &m); err != nil {
				t.Fatalf("%s: %v", one, err)
			}
			data += string(m.Data) + " "
		}
		return data
	}
	publish(3)
	for n := 1; stored() != "1 2 3 "; n++ { // after each write
		receiver.awaitEvent(t, n, "stored", nil)
	}
	receiver.kill(t)
	publish(2)
	receiver, _ = begin(address)
	for n := 1; stored() != "1 2 3 4 5 "; n++ {
		receiver.awaitEvent(t, n, "stored", nil)
	}
	if status, _ := call(t, "POST", "http://"+address+"/fleetwire", `[{"id":"forged","data":6}]`); status != 401 {
		t.Errorf("what is not signed is answered with %d", status)
	}
	if got := stored(); got != "1 2 3 4 5 " {
		t.Errorf("stored %s", got)
	}
	receiver.stop(t)
	s.shutDown(t)
}

// A device that was away ends at the newest desired document, and no backend loses a change.
func deviceTwin(t *testing.T, a, b *service) {
	env := serviceEnv(b.url, keyID+":"+secret)
	set := func(name, value string) {
		p := start(t, "set "+name, env, built(t, "twin"), "-device", "t-1", "set", name, value)
		if code := p.wait(t); code != 0 {
			t.Errorf("set %s ended with %d: %s", name, code, p.stderr())
		}
	}
	set("target", "19")
	// Five backends at once change a setting each.
	var all sync.WaitGroup
	for n := range 5 {
		all.Go(func() { set(fmt.Sprint("s", n), fmt.Sprint(n)) })
	}
	all.Wait()
	device := start(t, "device", serviceEnv(a.url, keyID+":"+secret), built(t, "twin"), "-device", "t-1", "run")
	l := device.awaitEvent(t, 1, "applied", map[string]any{"version": 6.0})
	if got := fmt.Sprint(l.fields["state"]); got != "map[s0:0 s1:1 s2:2 s3:3 s4:4 target:19]" {
		t.Errorf("the device applied %s", got)
	}
	set("target", "21.5")
	device.awaitEvent(t, 1, "applied", map[string]any{"version": 7.0})
	show := start(t, "show", env, built(t, "twin"), "-device", "t-1", "show")
	l = show.awaitEvent(t, 1, "twin", map[string]any{"desired": 7.0, "reported": 7.0})
	if got := fmt.Sprint(l.fields["state"]); !strings.Contains(got, "target:21.5") {
		t.Errorf("reported is %s", got)
	}
	if n := device.count("applied", nil); n != 2 {
		t.Errorf("the device applied %d documents, want 2", n)
	}
	device.stop(t)
}

// A page opens with what each device said last, however long ago, and then follows.
func dashboard(t *testing.T, a, b *service) {
	say := func(device, state string) {
		status, body := call(t, "POST", a.url+"/v1/channels/"+url.PathEscape("devices/"+device+"/state")+"/publish", `{"data":`+state+`}`)
		if status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	say("cam-1", `"old"`)
	say("cam-1", `"on"`)
	say("cam-2", `"off"`)
	page := start(t, "dashboard", serviceEnv(b.url, keyID+":"+secret), built(t, "dashboard"), "cam-1", "cam-2", "cam-3")
	page.awaitEvent(t, 1, "state", map[string]any{"device": "cam-1", "state": "on", "replayed": true})
	page.awaitEvent(t, 1, "state", map[string]any{"device": "cam-2", "state": "off", "replayed": true})
	say("cam-1", `"broken"`)
	page.awaitEvent(t, 1, "state", map[string]any{"device": "cam-1", "state": "broken", "replayed": false})
	if n := page.count("state", nil); n != 3 {
		t.Errorf("the page shows %d states, want 3", n)
	}
	page.stop(t)
}

// A program that stores a log, and is stopped and started, stores each message once.
func fleetLog(t *testing.T, a, b *service) {
	out := filepath.Join(t.TempDir(), "log.ndjson")
	published := 0
	publish := func(n int) {
		for range n {
			published++
			status, body := call(t, "POST", a.url+"/v1/channels/fleets%2Fnorth%2Flog/publish", fmt.Sprintf(`{"data":%d}`, published))
			if status != 200 {
				t.Fatalf("%d %s", status, body)
			}
		}
	}
	begin := func() *process {
		return start(t, "fleetlog", serviceEnv(b.url, keyID+":"+secret), built(t, "fleetlog"), "-fleet", "north", "-out", out)
	}
	publish(3)
	p := begin()
	p.awaitEvent(t, 1, "stored", map[string]any{"offset": 3.0})
	publish(2)
	p.awaitEvent(t, 1, "stored", map[string]any{"offset": 5.0})
	p.stop(t)
	publish(10)
	// A crash has left half a line.
	file, err := os.OpenFile(out, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"epoch":"x","off`); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	p = begin()
	p.awaitEvent(t, 1, "stored", map[string]any{"offset": 15.0})
	p.stop(t)
	wantLines := func(want string) {
		t.Helper()
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for one := range strings.Lines(string(text)) {
			var r struct {
				Offset int
				Data   json.RawMessage
			}
			if err := json.Unmarshal([]byte(one), &r); err != nil {
				t.Fatalf("%s: %v", one, err)
			}
			got = append(got, fmt.Sprintf("%d:%s", r.Offset, r.Data))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("stored %v, want %s", got, want)
		}
	}
	wantLines("1:1 2:2 3:3 4:4 5:5 6:6 7:7 8:8 9:9 10:10 11:11 12:12 13:13 14:14 15:15")

	// More is published than the channel remembers: the file says so, once.
	publish(101)
	p = begin()
	p.awaitEvent(t, 1, "gap", map[string]any{"after": 15.0, "until": 116.0})
	p.awaitEvent(t, 1, "stored", map[string]any{"offset": 116.0})
	if n := p.count("stored", nil); n != 101 { // the gap, and a hundred messages
		t.Errorf("%d records were stored, want 101", n)
	}
	p.stop(t)
}

// An ingester that is killed loses nothing: what it had not acknowledged, and what came while
// it was away, is in the file in the end.
func ingester(t *testing.T, a, b *service) {
	out := filepath.Join(t.TempDir(), "events.ndjson")
	published := 0
	publish := func(n int) {
		for range n {
			published++
			if status, body := call(t, "POST", a.url+"/v1/channels/devices%2Fcam-7%2Fevents/publish", fmt.Sprintf(`{"data":%d}`, published)); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
		}
	}
	stored := func() (data string) {
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for one := range strings.Lines(string(text)) {
			var r struct {
				Channel, From string
				Attempt       int
				Data          json.RawMessage
			}
			if err := json.Unmarshal([]byte(one), &r); err != nil || r.Channel != "devices/cam-7/events" || r.From != "server" {
				t.Fatalf("%s: %v", one, err)
			}
			if seen[string(r.Data)] && r.Attempt == 1 {
				t.Errorf("%s is there twice, and does not say so", r.Data)
			}
			if !seen[string(r.Data)] {
				data += string(r.Data) + " "
			}
			seen[string(r.Data)] = true
		}
		return data
	}
	begin := func() *process {
		return start(t, "ingester", serviceEnv(b.url, keyID+":"+secret), built(t, "ingester"), "-out", out)
	}
	publish(3)
	p := begin()
	p.awaitEvent(t, 1, "stored", nil)
	p.kill(t)
	publish(4)
	p = begin()
	for n := 1; stored() != "1 2 3 4 5 6 7 "; n++ { // after each write, for some come later
		p.awaitEvent(t, n, "stored", nil)
	}
	p.stop(t)
}
