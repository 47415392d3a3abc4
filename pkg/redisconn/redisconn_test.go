package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

func TestOpen(t *testing.T) {
	for _, test := range []struct {
		name, url, addrs, user, password string
		db                               int
		tls                              bool
		sentinel                         string // its primary, user and password
	}{
		{name: "host and port", url: "redis://127.0.0.1:6379", addrs: "127.0.0.1:6379"},
		{name: "no port", url: "redis://redis.internal", addrs: "redis.internal:6379"},
		{name: "database", url: "redis://h:1/7", addrs: "h:1", db: 7},
		{name: "password", url: "redis://:s3cret@h:1", addrs: "h:1", password: "s3cret"},
		{name: "user and escaped password", url: "redis://u:a%2Fb%3Fc%23d%25e%40f@h:1/2", addrs: "h:1", user: "u", password: "a/b?c#d%e@f", db: 2},
		{name: "TLS", url: "rediss://u:p@h:1", addrs: "h:1", user: "u", password: "p", tls: true},
		{name: "socket", url: "unix://u:p@/run/redis.sock?db=3", addrs: "/run/redis.sock", user: "u", password: "p", db: 3},
		{name: "a comma in a password", url: "redis://u:a,b@h:1", addrs: "h:1", user: "u", password: "a,b"},
		{name: "seeds", url: "redis://h1:1,h2,h3:3", addrs: "h1:1 h2:6379 h3:3"},
		{name: "one seed twice", url: "redis://h1:1,h2:2,h1:1/0", addrs: "h1:1 h2:2"},
		{name: "seeds, TLS and password", url: "rediss://u:a%2Cb%40c%2Fd@h1:1,[::1]:2?pool_size=3", addrs: "h1:1 [::1]:2", user: "u", password: "a,b@c/d", tls: true},
		{name: "Sentinel", url: "redis+sentinel://h1:1,h2/mymaster", addrs: "h1:1 h2:26379", sentinel: "mymaster  "},
		{name: "Sentinel, with all", url: "rediss+sentinel://u:p%23@h1:1,h2:2/my.primary-1?db=4&sentinel_user=s%2Fu&sentinel_password=%25%40%26&pool_size=3",
			addrs: "h1:1 h2:2", user: "u", password: "p#", db: 4, tls: true, sentinel: "my.primary-1 s/u %@&"},
		{name: "one Sentinel, with a password", url: "redis+sentinel://h1/m?sentinel_password=p", addrs: "h1:26379", sentinel: "m  p"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := redisconn.Locate(test.url)
			if err != nil {
				t.Fatal(err)
			}
			opt := l.Options
			if got := strings.Join(l.Addrs, " "); got != test.addrs || opt.Username != test.user || opt.Password != test.password || opt.DB != test.db || (opt.TLSConfig != nil) != test.tls || l.Sentinel != test.sentinel {
				t.Errorf("got %s, %s, %s, %d, TLS %v, Sentinel %q", got, opt.Username, opt.Password, opt.DB, opt.TLSConfig != nil, l.Sentinel)
			}
			if opt.TLSConfig != nil && opt.TLSConfig.ServerName != "" {
				t.Errorf("all servers must have a certificate of %s", opt.TLSConfig.ServerName)
			}
		})
	}
}

func TestURLsThatAreRefused(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h:1/-1":                                           "cannot be read", // would separate topics and not keys
		"redis://h:1?db=-2":                                        "cannot be read",
		"redis://h1:1,h2:2/1":                                      "has a database number",
		"redis://h1:1,h2:2?db=3":                                   "has a database number",
		"redis://h1:1,,h2:2":                                       "cannot be read",
		"redis://h1:1,h2:port":                                     "cannot be read",
		"redis://h1:1,h2:2?what=1":                                 "cannot be read",
		"redis+sentinel://h1:1":                                    "must end in the name",
		"redis+sentinel://h1:1/?db=0":                              "must end in the name",
		"redis+sentinel://h1:1/a/b":                                "must end in the name",
		"redis+sentinel:///mymaster":                               "cannot be read",
		"redis+sentinel://h1:1/m?db=x":                             "cannot be read",
		"redis+sentinel://h1/m?sentinel_user=u&sentinel_password=": "sentinel_user without",
		"redis-sentinel://h1/m":                                    "must begin with",
		"sentinel://h1/m":                                          "must begin with",
		"":                                                         "must begin with",
	} {
		if _, err := redisconn.Open(url, redisconn.TLS{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

// TestNothingIsRetried: a publish that is sent twice is delivered twice.
func TestNothingIsRetried(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var connections atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close() // without an answer
		}
	}()
	rdb, err := redisconn.Open("redis://"+l.Addr().String()+"?max_retries=5", redisconn.TLS{})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	asked := connections.Load() // whether it is a cluster
	if err := rdb.Incr(context.Background(), "n").Err(); err == nil || connections.Load() != asked+1 {
		t.Errorf("the command was tried %d times (%v), want once", connections.Load()-asked, err)
	}
}

// TestPasswordInErrors: a password with characters that mean something in a URL
// is where reading it fails, and what the parser quotes is then the password.
func TestPasswordInErrors(t *testing.T) {
	const head, middle, tail = "alpha7", "bravo8", "charlie9"
	refused := 0
	for _, sep := range []string{"/", "?", "#", "%", "%zz", ":", "@", "[", "]", "<", " ", `\`, `"`, "\x01", "\x7f", "é", ": ", "//", "|", "^", "{", "&", "=", "/?", "@/", ":/"} {
		password := head + sep + middle + sep + tail
		for _, shape := range []string{
			"redis://:%s@h:6379/0", "redis://u:%s@h:6379", "rediss://%s@h:6379", "redis://:%s@h:6379/notanumber", "redis://:%s@h:port",
			"unix://u:%s@/run/redis.sock", "redis://:%s", "redis://h:6379/%s", "redis://h:6379?%s", "redis://h:6379?db=%s", "redis://h:6379?dial_timeout=%s",
			"redis://u:12/%s@h:6379", "redis://[%s@h:6379", "redis://:%s@h1:6379,h2:6379", "redis://:%s@h1:6379,h2:6379/3", "redis://h1:1,%s", "redis://h1:1,h2:%s",
			"redis+sentinel://:%s@h1:1,h2/m", "redis+sentinel://h1:1/%s", "redis+sentinel://h1:1/m/%s", "redis+sentinel://h1/m?sentinel_password=%s", "redis+sentinel://h1/m?sentinel_user=%s",
			"rediss+sentinel://h1,%s/m", "redis+sentinel://%s", "%s", "redis:%s", "http://:%s@h:6379", " redis://:%s@h", "REDIS://:%s@h:6379",
		} {
			url := fmt.Sprintf(shape, password)
			_, err := redisconn.Locate(url)
			if err == nil {
				continue
			}
			refused++
			for _, part := range []string{head, middle, tail, "alpha", "charl"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("the error for %q shows a part of the password: %v", url, err)
					break
				}
			}
			if !strings.Contains(err.Error(), "Redis URL") || !strings.Contains(err.Error(), "redis://") && !strings.Contains(err.Error(), "redis+sentinel://") {
				t.Errorf("the error does not say what is wrong and what would be right: %v", err)
			}
		}
	}
	if refused < 100 {
		t.Errorf("only %d URLs were refused: the test tests little", refused)
	}
}

// A password may stand where the host or the path belongs: redis://password:6379.
func TestPasswordAsAddress(t *testing.T) {
	const password = "5ec4e70123456789abcdef"
	rdb, err := redisconn.Open("unix:///"+password, redisconn.TLS{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	err = rdb.Ping(t.Context()).Err()
	if err == nil || strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), "dial unix /5ec4e7…: ") {
		t.Errorf("the error for a path: %v", err)
	}
	if !redisconn.NotSent(err) {
		t.Errorf("%v: not known for a dial that failed", err)
	}

	unknown := &net.DNSError{Err: "no such host", Name: password, IsNotFound: true}
	err = redisconn.HideAddress(password+":6379", &net.OpError{Op: "dial", Net: "tcp", Err: unknown})
	if want := "dial tcp: lookup 5ec4e7…: no such host"; err.Error() != want || !errors.Is(err, unknown) {
		t.Errorf("the error for a host: %v, want %s", err, want)
	}
	short := &net.DNSError{Err: "no such host", Name: "redis.example.com", IsNotFound: true}
	if err := redisconn.HideAddress("redis.example.com:6379", short); err != error(short) {
		t.Errorf("the error for a host of short words is changed: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	wrongType := rdb.LPush(context.Background(), "list", 1).Err()
	if wrongType != nil {
		t.Fatal(wrongType)
	}
	wrongType = rdb.Incr(context.Background(), "list").Err()
	closed, _ := redisconn.Open("redis://h:1", redisconn.TLS{})
	_ = closed.Close()
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"an answer that is an error", wrongType, false},
		{"no such key", redis.Nil, false},
		{"the caller gave up", context.Canceled, false},
		{"the caller gave up, wrapped", fmt.Errorf("publish: %w", context.Canceled), false},
		{"no answer in time", context.DeadlineExceeded, true},
		{"refused", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{"the pool is empty", redis.ErrPoolTimeout, true},
		{"the client is closed", closed.Ping(context.Background()).Err(), true},
	} {
		if got := redisconn.Unreachable(test.err); got != test.want {
			t.Errorf("%s (%v): %v, want %v", test.name, test.err, got, test.want)
		}
	}
}

// TestUnreachableAnswers: a Redis that answers, but takes no writes.
func TestUnreachableAnswers(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	for answer, want := range map[string]bool{
		"LOADING Redis is loading the dataset in memory":                                           true,
		"READONLY You can't write against a read only replica.":                                    true,
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":         true,
		"CLUSTERDOWN The cluster is down":                                                          true,
		"OOM command not allowed when used memory > 'maxmemory'.":                                  false,
		"NOSCRIPT No matching script.":                                                             false,
		"ERR something LOADING":                                                                    false,
		"NOPERM this user has no permissions":                                                      false,
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist.": false,
	} {
		m.SetError(answer)
		if err := rdb.Incr(context.Background(), "n").Err(); err == nil || redisconn.Unreachable(err) != want {
			t.Errorf("%v: unreachable %v, want %v", err, !want, want)
		}
		_, err := rdb.Pipelined(context.Background(), func(p redis.Pipeliner) error { return p.Incr(context.Background(), "n").Err() })
		if err == nil || redisconn.Unreachable(err) != want {
			t.Errorf("%v in a pipeline: unreachable %v, want %v", err, !want, want)
		}
	}
}
