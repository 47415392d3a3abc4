package awssecret_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/awssecret"
	"fleetwire/pkg/awssecret/awssecrettest"
	"fleetwire/pkg/redact"
)

const (
	appsARN  = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fleetwire-apps-AbCdEf"
	redisARN = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:fleetwire-redis-AbCdEf"
	value    = "5ec4e7000000000000000000000000000000000000000001" // a key's secret
)

func document(keyID string) string {
	return `{"apps":[{"id":"app_demo","keys":[{"id":"` + keyID + `","secret":"` + value + `","channelPatterns":["**"],"actions":["publish"]}]}]}`
}

// start is a Secrets Manager that the SDK in this process finds.
func start(t *testing.T) *awssecrettest.Server {
	t.Helper()
	s := awssecrettest.Start(t)
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	return s
}

func logger() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func TestGetReadsInTheRegionOfTheARN(t *testing.T) {
	s := start(t)
	t.Setenv("AWS_REGION", "us-east-1") // where the process runs is another matter
	s.Put(redisARN, " rediss://:auth@cache:6379\n")
	var source awssecret.Source
	text, err := source.Resolve(t.Context(), redisARN)
	if err != nil || text != "rediss://:auth@cache:6379" {
		t.Fatalf("%q, %v", text, err)
	}
	if _, region := s.Requests(); region != "cn-north-1" {
		t.Errorf("signed for %s, want cn-north-1", region)
	}
}

func TestResolveLeavesOtherValuesAlone(t *testing.T) {
	s := start(t)
	var source awssecret.Source
	for _, spec := range []string{"redis://127.0.0.1:6379", "apps.json", `{"apps":[]}`, "arn:", "ARN:aws:x"} {
		if got, err := source.Resolve(t.Context(), spec); got != spec || err != nil {
			t.Errorf("%q: %q, %v", spec, got, err)
		}
	}
	if n, _ := s.Requests(); n != 0 {
		t.Errorf("asked AWS %d times", n)
	}
	if _, err := source.Resolve(t.Context(), " "); err == nil {
		t.Error("an empty spec passed")
	}
}

func TestGetErrors(t *testing.T) {
	tests := []struct {
		name, arn, want string
		prepare         func(*awssecrettest.Server)
	}{
		{"not of a secret", "arn:aws:s3:::bucket/apps.json", "is not the ARN of a secret, which looks like arn:aws:secretsmanager:", nil},
		{"no region", "arn:aws:secretsmanager::123456789012:secret:x", "is not the ARN of a secret", nil},
		{"not there", appsARN, "ResourceNotFoundException", nil},
		{"service broken", appsARN, "InternalServiceError", func(s *awssecrettest.Server) { s.Put(appsARN, value); s.Break(true) }},
		{"empty", appsARN, "it is empty", func(s *awssecrettest.Server) { s.Put(appsARN, " \n") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t)
			if tt.prepare != nil {
				tt.prepare(s)
			}
			var source awssecret.Source
			_, err := source.Get(t.Context(), tt.arn)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.arn) && !strings.Contains(err.Error(), redact.Place(tt.arn)) {
				t.Errorf("error %v; want one with %q and the ARN", err, tt.want)
			}
		})
	}
}

func TestOpenAppsFromAFile(t *testing.T) {
	s := start(t)
	path := filepath.Join(t.TempDir(), "apps.json")
	log, _ := logger()
	for _, id := range []string{"sk_live_a", "sk_live_b"} {
		if err := os.WriteFile(path, []byte(document(id)), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := awssecret.OpenApps(t.Context(), new(awssecret.Source), path, log)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := a.Store.Current().Key(id); !ok {
			t.Errorf("the key %s is not there", id)
		}
	}
	if n, _ := s.Requests(); n != 0 {
		t.Errorf("asked AWS %d times", n)
	}
}

func TestOpenAppsRefusesABrokenSecret(t *testing.T) {
	s := start(t)
	s.Put(appsARN, strings.Replace(document("sk_live_a"), `"actions"`, `"acts"`, 1))
	log, _ := logger()
	_, err := awssecret.OpenApps(t.Context(), new(awssecret.Source), appsARN, log)
	if err == nil || !strings.Contains(err.Error(), "apps[0].keys[0].acts") || strings.Contains(err.Error(), value) {
		t.Fatalf("error %v; want one that names the field and not the key's secret", err)
	}
}

func TestWarningsAreLogged(t *testing.T) {
	s := start(t)
	weak := strings.Replace(document("sk_live_a"), value, "5ec4e7short", 1)
	path := filepath.Join(t.TempDir(), "apps.json")
	if err := os.WriteFile(path, []byte(weak), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Put(appsARN, weak)
	for _, spec := range []string{path, appsARN} {
		log, lines := logger()
		if _, err := awssecret.OpenApps(t.Context(), new(awssecret.Source), spec, log); err != nil {
			t.Fatal(err)
		}
		if got := lines.String(); !strings.Contains(got, "apps[0].keys[0].secret") || strings.Contains(got, "5ec4e7short") {
			t.Errorf("%s: logged %q", spec, got)
		}
	}
}

func TestRefresh(t *testing.T) {
	s := start(t)
	s.Put(appsARN, document("sk_live_a"))
	log, lines := logger()
	a, err := awssecret.OpenApps(t.Context(), new(awssecret.Source), appsARN, log)
	if err != nil {
		t.Fatal(err)
	}
	has := func(keyID string) bool { _, ok := a.Store.Current().Key(keyID); return ok }
	refresh := func() string {
		lines.Reset()
		a.Refresh(t.Context())
		if strings.Contains(lines.String(), value) {
			t.Errorf("the log has a key's secret: %s", lines)
		}
		return lines.String()
	}
	// once wants a problem in force from its first look, and told once.
	once := func(name, says string) {
		t.Helper()
		if got := refresh(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, says) || !strings.Contains(got, appsARN) || !strings.Contains(got, "the last good one stays") {
			t.Errorf("%s: logged %q, want the ARN and %q", name, got, says)
		}
		if got := refresh(); got != "" {
			t.Errorf("%s: said again: %q", name, got)
		}
		if stale := a.Store.Stale(); stale == nil || !strings.Contains(stale.Why, says) || !has("sk_live_b") {
			t.Errorf("%s: stale %+v, b %v", name, stale, has("sk_live_b"))
		}
	}

	before := a.Store.Current()
	if got := refresh(); got != "" || a.Store.Current() != before {
		t.Errorf("unchanged: logged %q, or another directory", got)
	}
	s.Put(appsARN, document("sk_live_b"))
	if got := refresh(); !strings.Contains(got, "in force") || has("sk_live_a") || !has("sk_live_b") {
		t.Errorf("rotated: logged %q, a %v, b %v", got, has("sk_live_a"), has("sk_live_b"))
	}
	s.Put(appsARN, document("sk_live_c")[1:])
	once("broken", "is not valid JSON")
	s.Put(appsARN, " ")
	once("emptied", "it is empty")
	s.Break(true)
	once("service broken", "InternalServiceError: broken by the test")
	s.Break(false)
	s.Put(appsARN, document("sk_live_d"))
	if got := refresh(); !strings.Contains(got, "in order again") || a.Store.Stale() != nil || !has("sk_live_d") {
		t.Errorf("mended: logged %q, stale %v, d %v", got, a.Store.Stale(), has("sk_live_d"))
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	lines.Reset()
	if a.Refresh(ended); lines.Len() > 0 {
		t.Errorf("a caller that gave up is no news, but it logged %q", lines)
	}
}

// What AWS and the network put into an error that is another at each attempt (a
// request's id, a port) must not make one problem look like many.
func TestAProblemReadsTheSameEachTime(t *testing.T) {
	hangs := func(s *awssecrettest.Server) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		t.Cleanup(cancel)
		return ctx
	}
	for name, tt := range map[string]struct {
		prepare func(*awssecrettest.Server) context.Context
		want    string
	}{
		"an answer":    {func(*awssecrettest.Server) context.Context { return t.Context() }, "secret " + appsARN + ": ResourceNotFoundException: Secrets Manager can't find the specified secret."},
		"nobody there": {func(s *awssecrettest.Server) context.Context { s.Close(); return t.Context() }, "secret " + appsARN + ": AWS Secrets Manager cannot be reached: dial: connect: connection refused"},
		"no time left": {hangs, "secret " + appsARN + ": AWS Secrets Manager did not answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			ctx := tt.prepare(s)
			source := new(awssecret.Source)
			for range 2 {
				if _, err := source.Get(ctx, appsARN); err == nil || err.Error() != tt.want {
					t.Errorf("error %v\nwant  %s", err, tt.want)
				}
			}
		})
	}
}

func TestIntervalKeepsThePromise(t *testing.T) {
	if 2*awssecret.RefreshInterval > 60*time.Second {
		t.Error("protocol §7 promises ≤ 60 s, also when one reading fails")
	}
}
