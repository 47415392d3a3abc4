package aws

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetwire/functions/routes"
	"fleetwire/pkg/awssecret/awssecrettest"
	"fleetwire/pkg/redisconn/redistest"
)

const (
	// The apps document and the events are those that the adapter's own tests use.
	secretTip = "5ec4e7" // begins every secret in them
	appsARN   = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fleetwire-apps-AbCdEf"
	redisARN  = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fleetwire-redis-AbCdEf"
	// answerLimit is what a caller is promised, whatever happens to Redis.
	answerLimit = 2 * time.Second
)

func read(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{events}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func fixture(t testing.TB, name string) []byte { return []byte(read(t, "events", name+".json")) }

// with sets a member of an event's top level.
func with(t testing.TB, event []byte, name string, value any) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(event, &m); err != nil {
		t.Fatal(err)
	}
	m[name] = value
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func environment(t testing.TB, redisURL string) map[string]string {
	return map[string]string{"FLEETWIRE_APPS": read(t, "apps.json"), "FLEETWIRE_REDIS_URL": redisURL}
}

// Every route that Lambda functions serve has one that can be deployed.
func TestEveryRouteHasABootstrap(t *testing.T) {
	for _, route := range routes.All() {
		if route.Function == "" {
			continue // nodes alone serve it; the tests of functions/routes say which
		}
		if _, err := os.Stat(filepath.Join(module, "functions", route.Function, "bootstrap", "main.go")); err != nil {
			t.Errorf("%s: %v", route, err)
		}
	}
}

// A token from the tokens function opens a socket on a node, and what the publish
// function takes reaches it, whatever the front door did to the request.
func TestStory(t *testing.T) {
	redis := redistest.Start(t)
	n := startNode(t, redis)
	story(t, n,
		start(t, environment(t, redis.URL()), bootstrap(t, "tokens", hostArch)),
		start(t, environment(t, redis.URL()), bootstrap(t, "publish", hostArch)))
}

// story is TestStory on any architecture.
func story(t *testing.T, n *node, tokens, publish *function) {
	var channels map[string]string
	if err := json.Unmarshal([]byte(read(t, "channels.json")), &channels); err != nil {
		t.Fatal(err)
	}
	device := n.dial(t, mint(t, tokens, "token-alb"))
	other := n.dial(t, mint(t, tokens, "token-url"))
	subscribed := map[string]bool{}
	for _, channel := range channels {
		if !subscribed[channel] {
			subscribed[channel] = true
			device.subscribe(channel)
			other.subscribe(channel)
		}
	}
	for name, channel := range channels {
		t.Run(name, func(t *testing.T) {
			a := publish.invoke(fixture(t, name))
			encoded, _ := json.Marshal(channel)
			if want := `{"channel":` + string(encoded) + `,"subscribers":2}`; a.StatusCode != 200 || a.Body != want {
				t.Fatalf("%d %s, want %s", a.StatusCode, a.Body, want)
			}
			for _, s := range []*socket{device, other} {
				if got, want := s.read(), `{"type":"message","channel":`+string(encoded)+`,"from":"server","data":{"cmd":"reboot"}}`; got != want {
					t.Errorf("received %s\nwant %s", got, want)
				}
			}
		})
	}

	large := `{"data":"` + strings.Repeat("x", 32<<10) + `"}`
	for name, want := range map[string]struct {
		event  []byte
		status int
		body   string
	}{
		"no body, ALB":            {fixture(t, "no-body-alb"), 400, `{"error":"invalid_request"`},
		"no body, function URL":   {fixture(t, "no-body-url"), 400, `{"error":"invalid_request"`},
		"too large, ALB":          {with(t, fixture(t, "alb-multi-2F"), "body", large), 413, `{"error":"invalid_request"`},
		"too large, function URL": {with(t, fixture(t, "url-2F"), "body", large), 413, `{"error":"invalid_request"`},
		"far too large":           {with(t, fixture(t, "url-2F"), "body", strings.Repeat("x", 5<<20)), 413, `{"error":"invalid_request"`},
		"no credential":           {with(t, fixture(t, "url-2F"), "headers", map[string]string{}), 401, `{"error":"unauthorized"`},
		"another function's path": {fixture(t, "token-alb"), 404, `{"error":"not_found"`},
		"a wrong method":          {with(t, fixture(t, "alb-single-2f"), "httpMethod", "GET"), 405, `{"error":"method_not_allowed"`},
		"a broken escape":         {with(t, fixture(t, "alb-multi-2F"), "path", "/v1/channels/%/publish"), 400, `{"error":"invalid_channel"`},
	} {
		if a := publish.invoke(want.event); a.StatusCode != want.status || !strings.HasPrefix(a.Body, want.body) {
			t.Errorf("%s: %d %.200s, want %d %s", name, a.StatusCode, a.Body, want.status, want.body)
		}
	}
	if _, failed := publish.try([]byte(`{"key1":"value1"}`)); !strings.Contains(failed, "no HTTP request that this function knows") {
		t.Errorf("an event that is none: failed with %q", failed)
	}
	if a := publish.invoke(fixture(t, "alb-multi-2F")); a.StatusCode != 200 { // and it goes on
		t.Errorf("afterwards: %d %s", a.StatusCode, a.Body)
	}
}

// Each function answers its own routes, with the query that the caller sent.
func TestUsage(t *testing.T) {
	redis := redistest.Start(t)
	f := start(t, environment(t, redis.URL()), bootstrap(t, "usage", hostArch))
	event := with(t, fixture(t, "alb-multi-2F"), "httpMethod", "GET")
	if a := f.invoke(with(t, event, "path", "/v1/usage")); a.StatusCode != 200 || !strings.HasPrefix(a.Body, `{"appId":"app_fixture",`) {
		t.Errorf("%d %s", a.StatusCode, a.Body)
	}
	channels := with(t, event, "path", "/v1/usage/channels")
	for pattern, want := range map[string]int{"devices%2F*%2Fevents": 200, "%2E%2E": 400} {
		query := map[string][]string{"pattern": {pattern}, "limit": {"5"}}
		if a := f.invoke(with(t, channels, "multiValueQueryStringParameters", query)); a.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", pattern, a.StatusCode, a.Body, want)
		}
	}
}

// The peers function knows who is on a node.
func TestPeers(t *testing.T) {
	redis := redistest.Start(t)
	n := startNode(t, redis)
	n.dial(t, mint(t, start(t, environment(t, redis.URL()), bootstrap(t, "tokens", hostArch)), "token-alb")).subscribe("devices/cam-1/commands")
	f := start(t, environment(t, redis.URL()), bootstrap(t, "peers", hostArch))
	event := with(t, fixture(t, "alb-multi-2F"), "httpMethod", "GET")
	for path, want := range map[string]string{
		"/v1/channels/devices%2Fcam-1%2Fcommands/peers": `{"channel":"devices/cam-1/commands","peers":[{"peerId":"cam-1"}],"cursor":null}`,
		"/v1/channels/devices/cam-1/commands/peers":     `{"channel":"devices/cam-1/commands","peers":[{"peerId":"cam-1"}],"cursor":null}`,
		"/v1/channels/devices%2Fcam-2/peers":            `{"channel":"devices/cam-2","peers":[],"cursor":null}`,
	} {
		if a := f.invoke(with(t, event, "path", path)); a.StatusCode != 200 || a.Body != want {
			t.Errorf("%s: %d %s, want %s", path, a.StatusCode, a.Body, want)
		}
	}
}

func mint(t testing.TB, tokens *function, name string) string {
	t.Helper()
	a := tokens.invoke(fixture(t, name))
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil || a.StatusCode != 200 || body.Token == "" {
		t.Fatalf("%s: %d %s", name, a.StatusCode, a.Body)
	}
	if multi := name == "token-alb"; multi && (a.StatusDescription != "200 OK" || a.MultiValueHeaders["Content-Type"] == nil) ||
		!multi && a.Headers["Content-Type"] != "application/json" {
		t.Errorf("%s: the answer has not the form of its event: %+v", name, a)
	}
	return body.Token
}

// The connection to Redis is there before the first request and stays.
func TestAWarmFunctionKeepsItsConnection(t *testing.T) {
	redis := redistest.Start(t)
	admin := redis.Client()
	// A database of its own tells the function's connections from others.
	connections := func() (ids []string) {
		list, err := admin.ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(list) {
			if strings.Contains(line, " db=3 ") {
				ids = append(ids, strings.Fields(line)[0])
			}
		}
		return ids
	}
	f := start(t, environment(t, redis.URL()+"/3"), bootstrap(t, "tokens", hostArch))
	mint(t, f, "token-alb")
	first := connections()
	if len(first) != 1 {
		t.Fatalf("%d connections, want 1", len(first))
	}
	for range 50 {
		mint(t, f, "token-alb")
	}
	if now := connections(); len(now) != 1 || now[0] != first[0] {
		t.Errorf("connections %v, want still %v", now, first)
	}
}

func wantAway(t *testing.T, f *function, event []byte, why string) {
	t.Helper()
	a := f.invoke(event)
	if a.StatusCode != 503 || !strings.HasPrefix(a.Body, `{"error":"backend_error"`) {
		t.Errorf("%s: %d %s, want 503 backend_error", why, a.StatusCode, a.Body)
	}
	if a.took > answerLimit {
		t.Errorf("%s: answered after %v, want within %v", why, a.took, answerLimit)
	}
}

func TestRedisDies(t *testing.T) {
	for name, event := range map[string]string{"tokens": "token-alb", "publish": "alb-multi-2F"} {
		t.Run(name, func(t *testing.T) {
			event := fixture(t, event)
			redis := redistest.Start(t)
			redis.Stop()
			f := start(t, environment(t, redis.URL()), bootstrap(t, name, hostArch))
			wantBack := func(when string) {
				t.Helper()
				if a := f.invoke(event); a.StatusCode != 200 {
					t.Errorf("%s: %d %s, want 200", when, a.StatusCode, a.Body)
				}
			}
			wantAway(t, f, event, "away from the start")
			redis.Restart()
			wantBack("started late")
			redis.Stop()
			wantAway(t, f, event, "killed")
			wantAway(t, f, event, "still dead")
			redis.Restart()
			wantBack("started again")
			redis.Freeze() // the connection is there, and nobody answers
			wantAway(t, f, event, "frozen")
			wantAway(t, f, event, "still frozen")
			redis.Thaw()
			wantBack("thawed")
			if log := f.log.String(); !strings.Contains(log, "redis does not answer") || !strings.Contains(log, `"msg":"request failed"`) {
				t.Errorf("logged %s", log)
			}
		})
	}
}

// A function without its configuration answers, and its log says what is missing.
func TestWithoutConfiguration(t *testing.T) {
	redis := redistest.Start(t)
	for name, tt := range map[string]struct {
		environment map[string]string
		want        string
	}{
		"nothing":         {nil, "FLEETWIRE_APPS is not set"},
		"no Redis":        {map[string]string{"FLEETWIRE_APPS": read(t, "apps.json")}, "FLEETWIRE_REDIS_URL is not set"},
		"broken document": {map[string]string{"FLEETWIRE_APPS": `{"apps":[]}`, "FLEETWIRE_REDIS_URL": redis.URL()}, "FLEETWIRE_APPS: apps document"},
		"wrong Redis URL": {map[string]string{"FLEETWIRE_APPS": read(t, "apps.json"), "FLEETWIRE_REDIS_URL": "cache:6379"}, "FLEETWIRE_REDIS_URL: the Redis URL must begin with"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, tt.environment, bootstrap(t, "publish", hostArch))
			for range 3 { // by the same process
				wantAway(t, f, fixture(t, "alb-multi-2F"), name)
			}
			if log := f.log.String(); !strings.Contains(log, `"level":"ERROR"`) || !strings.Contains(log, tt.want) {
				t.Errorf("logged %s, want %q", log, tt.want)
			}
		})
	}
}

// Both the apps document and the Redis URL out of Secrets Manager, which is away
// at first.
func TestConfigurationFromSecrets(t *testing.T) {
	redis := redistest.Start(t)
	secrets := awssecrettest.Start(t)
	secrets.Put(appsARN, read(t, "apps.json"))
	secrets.Put(redisARN, redis.URL())
	secrets.Break(true)
	environment := secrets.Environment()
	environment["FLEETWIRE_APPS"], environment["FLEETWIRE_REDIS_URL"] = appsARN, redisARN
	f := start(t, environment, bootstrap(t, "tokens", hostArch))
	wantAway(t, f, fixture(t, "token-alb"), "Secrets Manager is away")
	if log := f.log.String(); !strings.Contains(log, "InternalServiceError") {
		t.Errorf("logged %s", log)
	}
	wantAway(t, f, fixture(t, "token-alb"), "still away")
	secrets.Break(false)
	readings, _ := secrets.Requests()
	redistest.Eventually(t, patience, "it recovers by itself", func() bool {
		return f.invoke(fixture(t, "token-alb")).StatusCode == 200
	})
	if now, _ := secrets.Requests(); now != readings+2 {
		t.Errorf("it took %d readings, want 2: one for each secret", now-readings)
	}
	before, _ := secrets.Requests()
	mint(t, f, "token-alb")
	if now, _ := secrets.Requests(); now != before {
		t.Errorf("a warm function read its secrets again with each request")
	}
}
