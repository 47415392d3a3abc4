package lambda

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"fleetwire/functions/internal/apitest"
	"fleetwire/functions/tokens"
	"fleetwire/pkg/awssecret"
	"fleetwire/pkg/awssecret/awssecrettest"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

const (
	appsARN  = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fleetwire-apps-AbCdEf"
	redisARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fleetwire-redis-AbCdEf"
)

func document(keyID string) string {
	return `{"apps":[{"id":"app_demo","keys":[{"id":"` + keyID + `","secret":"` + apitest.Secret + `","channelPatterns":["**"],"actions":["publish"]}]}]}`
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	out, err := url.PathUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// instance is the tokens function, and the time that it believes it is.
type instance struct {
	*function
	log   *apitest.Log
	clock time.Time
}

func newInstance(t *testing.T, s settings) *instance {
	i := &instance{log: new(apitest.Log), clock: time.Unix(1767225600, 0)}
	i.function = newFunction(s, func(s Services) http.Handler { return tokens.New(s.API) }, slog.New(slog.NewTextHandler(i.log, nil)))
	i.now = func() time.Time { return i.clock }
	t.Cleanup(func() {
		if i.rdb != nil {
			_ = i.rdb.Close()
		}
	})
	return i
}

// mint asks for a token with a key, and returns the status and body.
func (i *instance) mint(keyID string) (int, string) {
	r := httptest.NewRequest("POST", "/v1/tokens", strings.NewReader(`{"peerId":"a"}`))
	r.Header.Set("Authorization", "Bearer "+keyID+":"+apitest.Secret)
	w := apitest.Do(i, r)
	return w.Code, w.Body.String()
}

func (i *instance) want(t *testing.T, keyID string, status int) {
	t.Helper()
	if got, body := i.mint(keyID); got != status {
		t.Errorf("%s: %d %s, want %d\n%s", keyID, got, body, status, i.log)
	}
}

func secrets(t *testing.T) *awssecrettest.Server {
	t.Helper()
	s := awssecrettest.Start(t)
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	return s
}

// A function that cannot be configured answers, and says in its log what is wrong.
func TestWrongConfiguration(t *testing.T) {
	secrets(t)
	redis := "redis://127.0.0.1:6379"
	for name, tt := range map[string]struct {
		settings settings
		want     string
	}{
		"nothing":            {settings{}, "FLEETWIRE_APPS is not set"},
		"no Redis":           {settings{apps: document("sk_a")}, "FLEETWIRE_REDIS_URL is not set"},
		"broken document":    {settings{apps: `{"apps":7}`, redis: redis}, "FLEETWIRE_APPS: apps document: apps: must be an array"},
		"no such file":       {settings{apps: "nowhere.json", redis: redis}, "no such file"},
		"no such secret":     {settings{apps: appsARN, redis: redis}, "ResourceNotFoundException"},
		"not a secret's ARN": {settings{apps: "arn:aws:s3:::bucket/x", redis: redis}, "is not the ARN of a secret"},
		"wrong Redis prefix": {settings{apps: document("sk_a"), redis: "redis://127.0.0.1:1", prefix: "Fw:"}, "FLEETWIRE_REDIS_PREFIX: "},
		"no such CA":         {settings{apps: document("sk_a"), redis: "rediss://h:1", ca: "/nowhere/ca.pem"}, "FLEETWIRE_REDIS_CA: "},
		"a key alone":        {settings{apps: document("sk_a"), redis: "rediss://h:1", key: "/nowhere/key.pem"}, "FLEETWIRE_REDIS_KEY: is given without"},
		"a CA without TLS":   {settings{apps: document("sk_a"), redis: redis, ca: "ca.pem"}, "FLEETWIRE_REDIS_CA: is for TLS"},
		"skip_verify":        {settings{apps: document("sk_a"), redis: "rediss://:5ec4e7@h:1?skip_verify=true"}, "FLEETWIRE_REDIS_URL: the Redis URL says skip_verify=true"},
		"insecure by half":   {settings{apps: document("sk_a"), redis: redis, insecure: "perhaps"}, "FLEETWIRE_REDIS_INSECURE: "},
		"wrong Redis URL":    {settings{apps: document("sk_a"), redis: "http://:5ec4e7@cache"}, "FLEETWIRE_REDIS_URL: the Redis URL must begin with redis://"},
		"no Redis secret":    {settings{apps: document("sk_a"), redis: redisARN}, "FLEETWIRE_REDIS_URL: secret " + redisARN},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstance(t, tt.settings)
			i.start()
			status, body := i.mint("sk_a")
			if status != 503 || !strings.HasPrefix(body, `{"error":"backend_error","message":"the service is not configured`) {
				t.Errorf("%d %s", status, body)
			}
			if log := i.log.String(); strings.Count(log, tt.want) < 2 || strings.Contains(log, apitest.SecretTip) {
				t.Errorf("logged %s\nwant %q at the start and with the request, and no secret", log, tt.want)
			}
		})
	}
}

func TestConfigurationThatComesLate(t *testing.T) {
	s := secrets(t)
	i := newInstance(t, settings{apps: appsARN, redis: redisARN})
	i.start()
	tries, _ := s.Requests()
	i.want(t, "sk_a", 503)
	s.Put(appsARN, document("sk_a"))
	s.Put(redisARN, "redis://"+miniredis.RunT(t).Addr())
	i.clock = i.clock.Add(retryAfter - 1)
	i.want(t, "sk_a", 503)
	if n, _ := s.Requests(); n != tries {
		t.Errorf("asked %d times within %v of a failure, which each made a caller wait", n-tries, retryAfter)
	}
	i.clock = i.clock.Add(1)
	i.want(t, "sk_a", 200)
}

func TestKeysAreRotatedWhileWarm(t *testing.T) {
	s := secrets(t)
	s.Put(appsARN, document("sk_a"))
	i := newInstance(t, settings{apps: appsARN, redis: "redis://" + miniredis.RunT(t).Addr()})
	i.start()
	i.want(t, "sk_a", 200)
	before, _ := s.Requests()

	s.Put(appsARN, document("sk_b"))
	i.clock = i.clock.Add(awssecret.RefreshInterval - 1)
	i.want(t, "sk_a", 200)
	if n, _ := s.Requests(); n != before {
		t.Errorf("the secret was read again after less than %v", awssecret.RefreshInterval)
	}
	i.clock = i.clock.Add(1)
	i.want(t, "sk_a", 401)
	i.want(t, "sk_b", 200)
	if n, _ := s.Requests(); n != before+1 {
		t.Errorf("%d readings, want one", n-before)
	}

	s.Put(appsARN, "{")
	i.clock = i.clock.Add(time.Hour) // frozen for so long
	i.want(t, "sk_b", 200)
	if log := i.log.String(); !strings.Contains(log, "the newest version of the apps document cannot be used") {
		t.Errorf("logged %s", log)
	}
	s.Put(appsARN, document("sk_c"))
	s.Break(true)
	i.clock = i.clock.Add(time.Hour)
	i.want(t, "sk_b", 200)
	s.Break(false)
	i.clock = i.clock.Add(awssecret.RefreshInterval)
	i.want(t, "sk_c", 200)
}

func TestRedisMovesWhileWarm(t *testing.T) {
	s := secrets(t)
	former, next := miniredis.RunT(t), miniredis.RunT(t)
	s.Put(redisARN, "redis://"+former.Addr())
	i := newInstance(t, settings{apps: document("sk_a"), redis: redisARN})
	i.start()
	i.want(t, "sk_a", 200)
	client := i.rdb
	i.clock = i.clock.Add(awssecret.RefreshInterval)
	i.want(t, "sk_a", 200)
	if i.rdb != client {
		t.Error("the same URL made another client")
	}

	s.Put(redisARN, "redis:/typo")
	i.clock = i.clock.Add(awssecret.RefreshInterval)
	i.want(t, "sk_a", 200)
	if log := i.log.String(); !strings.Contains(log, "the Redis URL could not be read again") {
		t.Errorf("logged %s", log)
	}
	s.Put(redisARN, "redis://"+next.Addr())
	former.Close()
	i.clock = i.clock.Add(awssecret.RefreshInterval)
	i.want(t, "sk_a", 200)
	if len(next.Keys()) == 0 {
		t.Error("nothing was counted in the new Redis")
	}
}

// A cluster that did not answer when the function started is found to be one.
func TestClusterAwayAndBack(t *testing.T) {
	proxy := redistest.NewProxy(t, "127.0.0.1:1")
	i := newInstance(t, settings{apps: document("sk_a"), redis: proxy.URL()})
	i.start()
	if redisconn.IsCluster(i.rdb) {
		t.Fatal("what does not answer is taken for a cluster")
	}
	i.want(t, "sk_a", 503)
	proxy.Lead(redistest.SharedCluster(t).Nodes[0].Addr())
	i.want(t, "sk_a", 503) // which learns it
	i.want(t, "sk_a", 200)
	if !redisconn.IsCluster(i.rdb) {
		t.Error("the cluster is taken for one server")
	}
}

func TestRedisAwayAndBack(t *testing.T) {
	m := miniredis.RunT(t)
	i := newInstance(t, settings{apps: document("sk_a"), redis: "redis://" + m.Addr()})
	back := redistest.Close(t, m)
	i.start()
	if log := i.log.String(); !strings.Contains(log, "redis does not answer") {
		t.Errorf("logged %s", log)
	}
	i.want(t, "sk_a", 503)
	back()
	i.want(t, "sk_a", 200)
	back = redistest.Close(t, m)
	i.want(t, "sk_a", 503)
	back()
	i.want(t, "sk_a", 200)
}

func TestIdleConnectionsAreNotTrustedForLong(t *testing.T) {
	for url, want := range map[string]time.Duration{
		"redis://h:6379":                          240 * time.Second,
		"redis://h:6379/2?client_name=x":          240 * time.Second,
		"rediss://u:p@h:6379":                     240 * time.Second,
		"redis://h:6379/0?conn_max_idle_time=10s": 10 * time.Second,
	} {
		opt, err := redis.ParseURL(withIdleLimit(url))
		if err != nil || opt.ConnMaxIdleTime != want {
			t.Errorf("%s: %v, %v", url, opt, err)
		}
	}
}

func TestLogLevel(t *testing.T) {
	for level, want := range map[string]string{
		"":      "info warn",
		"debug": "debug info warn",
		"WARN":  "warn",
		"loud":  "FLEETWIRE_LOG_LEVEL info warn", // and it serves
	} {
		out := new(apitest.Log)
		log := logger(out, level)
		log.Debug("debug")
		log.Info("info")
		log.Warn("warn")
		var got []string
		for line := range strings.Lines(out.String()) {
			var m struct{ Msg string }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			got = append(got, strings.Fields(m.Msg)[0])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: logged %q, want %s", level, got, want)
		}
	}
}

// A misspelt variable is named; its value is not told.
func TestUnknownVariables(t *testing.T) {
	out := new(apitest.Log)
	warnUnknown([]string{"FLEETWIRE_APP=hush-hush", "FLEETWIRE_APPS=a", "FLEETWIRE_REDIS_URL_VERSION=1", "FLEETWIRE_REDIS_CA=ca.pem", "AWS_REGION=x"}, logger(out, ""))
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"variable":"FLEETWIRE_APP"`) || strings.Contains(got, "hush-hush") {
		t.Errorf("logged %s", got)
	}
}

// What compose or a template passes on for a variable that nobody set is no setting.
func TestEmptyVariablesAreNotSet(t *testing.T) {
	t.Setenv("FLEETWIRE_APPS", " ")
	t.Setenv("FLEETWIRE_REDIS_URL", "")
	err := settingsFromEnvironment().check()
	if err == nil || !strings.Contains(err.Error(), "FLEETWIRE_APPS is not set") || !strings.Contains(err.Error(), "FLEETWIRE_REDIS_URL is not set") {
		t.Errorf("error %v", err)
	}
	if got := logger(new(apitest.Log), " "); got == nil || !got.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("a blank level is not info")
	}
}

// The secret holds a URL of any form.
func TestSecretHasAnyFormOfRedis(t *testing.T) {
	defer redistest.EndShared()
	for name, url := range map[string]string{
		"a server":                redistest.Start(t).URL(),
		"nodes of a cluster":      redistest.SharedCluster(t).URL(),
		"one node of a cluster":   redistest.SharedCluster(t).Nodes[1].URL(),
		"a primary and Sentinels": redistest.StartSentinel(t, 0).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			s := secrets(t)
			s.Put(redisARN, url+"\n")
			i := newInstance(t, settings{apps: document("sk_a"), redis: redisARN})
			i.start()
			i.want(t, "sk_a", 200)
			if _, cluster := i.rdb.(*redis.ClusterClient); cluster != strings.Contains(name, "cluster") {
				t.Errorf("%T is the client of %s", i.rdb, name)
			}
		})
	}
}
