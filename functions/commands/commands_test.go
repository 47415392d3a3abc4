package commands

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/command"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ Commands = (*command.Service)(nil)

const path = "/v1/channels/devices%2Fa/commands"

// fake records what it is asked and answers as set.
type fake struct {
	command *command.Command
	refusal *command.Refusal
	err     error // of all but Create
	page    command.Page
	answers command.AnswersPage

	created []command.New
	waits   []time.Duration
	asked   []any
}

func (f *fake) Create(_ context.Context, n command.New, wait time.Duration) (*command.Command, *command.Refusal) {
	f.created, f.waits = append(f.created, n), append(f.waits, wait)
	return f.command, f.refusal
}

func (f *fake) Channel(_ context.Context, app, id string) (string, error) {
	f.asked = append(f.asked, "channel "+app+" "+id)
	if f.err != nil {
		return "", f.err
	}
	return f.command.Channel, nil
}

func (f *fake) Wait(_ context.Context, _ *apps.Key, id string, wait time.Duration) (*command.Command, error) {
	f.asked = append(f.asked, "wait "+id)
	if wait > 0 {
		f.waits = append(f.waits, wait)
	}
	return f.command, f.err
}

func (f *fake) Cancel(_ context.Context, app, id string) (*command.Command, error) {
	f.asked = append(f.asked, "cancel "+app+" "+id)
	return f.command, f.err
}

func (f *fake) List(_ context.Context, app, channel string, status command.Status, after string, limit int) (command.Page, error) {
	f.asked = append(f.asked, app, channel, status, after, limit)
	return f.page, f.err
}

func (f *fake) Answers(_ context.Context, app, id string, status command.Status, after string, limit int) (command.AnswersPage, error) {
	f.asked = append(f.asked, app, id, status, after, limit)
	return f.answers, f.err
}

// example is a command, and how it is written.
func example() (*command.Command, string) {
	c := &command.Command{
		ID: "cmd_1", Channel: "devices/a", Data: []byte(`{ "cmd" : "<reboot>" }`), From: "server", Status: command.Mixed,
		CreatedAt: 1767222000123, ExpiresAt: 1767222000999, Expect: 3, Counts: command.Counts{Sent: 1, Received: 2, Running: 3, Succeeded: 4, Failed: 5, Rejected: 6, TimedOut: 7, Missing: 8},
		Answers: []command.PeerAnswer{
			{Peer: `a"`, Status: command.Succeeded, Data: []byte(`[ 1 ]`), Attempt: 1, SentAt: 1767222000130, AnsweredAt: 1767222000310},
			{Peer: "b", Status: command.TimedOut, Attempt: 2, SentAt: 5, Late: &command.LateAnswer{Status: command.Failed, Data: []byte("null"), AnsweredAt: 6}},
		}, More: true,
	}
	return c, `{"id":"cmd_1","channel":"devices/a","data":{ "cmd" : "<reboot>" },"from":"server","status":"mixed","createdAt":1767222000123,"expiresAt":1767222000999,"expect":3,` +
		`"counts":{"sent":1,"received":2,"running":3,"succeeded":4,"failed":5,"rejected":6,"timedOut":7,"missing":8},` +
		`"answers":[{"peer":"a\"","status":"succeeded","data":[ 1 ],"attempt":1,"sentAt":1767222000130,"answeredAt":1767222000310},` +
		`{"peer":"b","status":"timed_out","attempt":2,"sentAt":5,"answeredAt":null,"late":{"status":"failed","data":null,"answeredAt":6}}],"more":true}`
}

func waiting() *command.Command {
	return &command.Command{ID: "cmd_2", Channel: "devices/a", Data: []byte("1"), From: "server", Status: command.Waiting, CreatedAt: 1, Expect: 1}
}

const waitingBody = `{"id":"cmd_2","channel":"devices/a","data":1,"from":"server","status":"waiting","createdAt":1,"expiresAt":null,"expect":1,` +
	`"counts":{"sent":0,"received":0,"running":0,"succeeded":0,"failed":0,"rejected":0,"timedOut":0,"missing":0},"answers":[]}`

func do(t *testing.T, f Commands, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	config, log := apitest.Config(t)
	w := apitest.Do(New(config, Config{Commands: f}), apitest.Request(method, target, body))
	if w.Code < 500 && log.String() != "" {
		t.Errorf("logged: %s", log)
	}
	return w
}

func TestCreate(t *testing.T) {
	ended, endedBody := example()
	usual := command.New{Channel: "devices/a", From: "server", Data: []byte("1"), Timeout: 30 * time.Second}
	for _, tt := range []struct {
		name, body string
		want       func(n *command.New)
		wait       time.Duration
	}{
		{"data alone", `{"data":1}`, nil, 10 * time.Second},
		{"data verbatim", `{"data": { "a" : 1.0 } }`, func(n *command.New) { n.Data = []byte(`{ "a" : 1.0 }`) }, 10 * time.Second},
		{"everything", `{"data":1,"from":"x","waitMs":0,"ttlMs":604800000,"timeoutMs":86400000,"expect":100000,"idempotencyKey":"k","collapseKey":"é","notify":"devices/b"}`, func(n *command.New) {
			n.From, n.TTL, n.Timeout, n.Expect, n.IdempotencyKey, n.CollapseKey, n.Notify = "x", 7*24*time.Hour, 24*time.Hour, 100000, "k", "é", "devices/b"
		}, 0},
		{"a rollout", `{"data":1,"ttlMs":1000,"rollout":{"perMinute":60}}`, func(n *command.New) { n.TTL, n.Rollout = time.Second, command.Rollout{PerMinute: 60} }, 10 * time.Second},
		{"a rollout that aborts", `{"data":1,"ttlMs":1000,"rollout":{"abort":{"failedPct":10,"minAnswered":20},"perMinute":60}}`, func(n *command.New) {
			n.TTL, n.Rollout = time.Second, command.Rollout{PerMinute: 60, FailedPct: 10, MinAnswered: 20}
		}, 10 * time.Second},
		{"the least", `{"data":1,"waitMs":25000,"ttlMs":0,"timeoutMs":1000,"expect":1}`, func(n *command.New) { n.Timeout, n.Expect = time.Second, 1 }, 25 * time.Second},
	} {
		f := &fake{command: ended}
		apitest.Want(t, do(t, f, "POST", path, tt.body), 200, endedBody)
		want := usual
		if tt.want != nil {
			tt.want(&want)
		}
		if len(f.created) != 1 {
			t.Fatalf("%s: %d commands", tt.name, len(f.created))
		}
		got := f.created[0]
		if got.Key == nil || got.Key.ID != apitest.KeyID || got.HasToken {
			t.Errorf("%s: key %v, token taken: %v", tt.name, got.Key, got.HasToken)
		}
		if got.Key = nil; string(got.Data) != string(want.Data) || f.waits[0] != tt.wait {
			t.Errorf("%s: data %s, waits %v", tt.name, got.Data, f.waits)
		}
		got.Data, want.Data = nil, nil
		if !equal(got, want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, want)
		}
	}
}

func equal(a, b command.New) bool {
	return a.Channel == b.Channel && a.From == b.From && a.TTL == b.TTL && a.Timeout == b.Timeout && a.Expect == b.Expect &&
		a.IdempotencyKey == b.IdempotencyKey && a.CollapseKey == b.CollapseKey && a.Notify == b.Notify && a.Rollout == b.Rollout
}

func TestCreateThatHasNotEnded(t *testing.T) {
	for _, body := range []string{`{"data":1}`, `{"data":1,"waitMs":0}`} {
		w := do(t, &fake{command: waiting()}, "POST", path, body)
		apitest.Want(t, w, 202, waitingBody)
		if got := w.Header().Get("Location"); got != "/v1/commands/cmd_2" {
			t.Errorf("Location %q", got)
		}
	}
}

// A deployment that may wait less does, and refuses nothing.
func TestMaxWait(t *testing.T) {
	config, _ := apitest.Config(t)
	f := &fake{command: waiting()}
	h := New(config, Config{Commands: f, MaxWait: 20 * time.Second})
	apitest.Want(t, apitest.Do(h, apitest.Request("POST", path, `{"data":1,"waitMs":25000}`)), 202, waitingBody)
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/commands/cmd_2?waitMs=25000", "")), 202, waitingBody)
	if f.waits[0] != 20*time.Second || f.waits[1] != 20*time.Second {
		t.Errorf("waits %v", f.waits)
	}
}

func TestCreateRefuses(t *testing.T) {
	const number = "; it must be a whole number of "
	tests := []struct {
		name, target, body string
		status             int
		answer             string
	}{
		{"no data", path, `{}`, 400, `{"error":"missing_data","message":"data is missing; it may be any JSON value, null included"}`},
		{"an unknown field", path, `{"data":1,"ttl":5}`, 400, `{"error":"invalid_request","message":"there is no field \"ttl\"; the fields are data, from, waitMs, ttlMs, timeoutMs, expect, idempotencyKey, collapseKey, notify, rollout"}`},
		{"a field twice", path, `{"data":1,"data":1}`, 400, `{"error":"invalid_request","message":"data is there twice; send it once"}`},
		{"no JSON", path, `{"data":}`, 400, `{"error":"invalid_request","message":"the body must be a JSON object`},
		{"from a number", path, `{"data":1,"from":1}`, 400, `{"error":"invalid_request","message":"from is a number; it must be a string"}`},
		{"from empty", path, `{"data":1,"from":""}`, 400, `{"error":"invalid_peer_id","message":"from \"\" will not do`},
		{"from too long", path, `{"data":1,"from":"` + strings.Repeat("x", 129) + `"}`, 400, `{"error":"invalid_peer_id"`},
		{"waitMs too long", path, `{"data":1,"waitMs":25001}`, 400, `{"error":"invalid_request","message":"waitMs is 25001` + number + `milliseconds from 0 to 25000, in plain digits"}`},
		{"waitMs negative", path, `{"data":1,"waitMs":-1}`, 400, `{"error":"invalid_request","message":"waitMs is -1`},
		{"waitMs text", path, `{"data":1,"waitMs":"1s"}`, 400, `{"error":"invalid_request","message":"waitMs is a string`},
		{"waitMs null", path, `{"data":1,"waitMs":null}`, 400, `{"error":"invalid_request","message":"waitMs is null`},
		{"ttlMs too long", path, `{"data":1,"ttlMs":604800001}`, 400, `{"error":"invalid_request","message":"ttlMs is 604800001` + number + `milliseconds from 0 to 604800000, in plain digits"}`},
		{"ttlMs with a fraction", path, `{"data":1,"ttlMs":1.5}`, 400, `{"error":"invalid_request","message":"ttlMs is 1.5`},
		{"timeoutMs too short", path, `{"data":1,"timeoutMs":999}`, 400, `{"error":"invalid_request","message":"timeoutMs is 999` + number + `milliseconds from 1000 to 86400000, in plain digits"}`},
		{"timeoutMs too long", path, `{"data":1,"timeoutMs":86400001}`, 400, `{"error":"invalid_request","message":"timeoutMs is 86400001`},
		{"timeoutMs an object", path, `{"data":1,"timeoutMs":{}}`, 400, `{"error":"invalid_request","message":"timeoutMs is an object`},
		{"expect none", path, `{"data":1,"expect":0}`, 400, `{"error":"invalid_request","message":"expect is 0` + number + `peers from 1 to 100000, in plain digits"}`},
		{"expect too many", path, `{"data":1,"expect":100001}`, 400, `{"error":"invalid_request","message":"expect is 100001`},
		{"expect an exponent", path, `{"data":1,"expect":1e2}`, 400, `{"error":"invalid_request","message":"expect is 1e2`},
		{"idempotencyKey empty", path, `{"data":1,"idempotencyKey":""}`, 400, `{"error":"invalid_request","message":"idempotencyKey is 0 bytes long; it must be 1 to 128 bytes"}`},
		{"idempotencyKey too long", path, `{"data":1,"idempotencyKey":"` + strings.Repeat("é", 65) + `"}`, 400, `{"error":"invalid_request","message":"idempotencyKey is 130 bytes long; it must be 1 to 128 bytes"}`},
		{"idempotencyKey a number", path, `{"data":1,"idempotencyKey":7}`, 400, `{"error":"invalid_request","message":"idempotencyKey is a number; it must be a string"}`},
		{"half a character in idempotencyKey", path, `{"data":1,"idempotencyKey":"\ud800"}`, 400, `{"error":"invalid_request","message":"idempotencyKey has half a character`},
		{"collapseKey empty", path, `{"data":1,"collapseKey":""}`, 400, `{"error":"invalid_request","message":"collapseKey is 0 bytes long`},
		{"collapseKey null", path, `{"data":1,"collapseKey":null}`, 400, `{"error":"invalid_request","message":"collapseKey is null; it must be a string"}`},
		{"notify empty", path, `{"data":1,"notify":""}`, 400, `{"error":"invalid_channel","message":"notify is empty; name a channel, or leave it out"}`},
		{"notify an array", path, `{"data":1,"notify":["devices/b"]}`, 400, `{"error":"invalid_request","message":"notify is an array; it must be a string"}`},
		{"notify itself", path, `{"data":1,"notify":"devices/a"}`, 400, `{"error":"invalid_request","message":"notify is the command's own channel; name another one"}`},
		{"notify a foreign channel", path, `{"data":1,"notify":"public/b"}`, 403, `{"error":"channel_not_authorized","message":"notify: this credential does not cover the channel \"public/b\""}`},
		{"notify a reserved channel", path, `{"data":1,"notify":"_system/x"}`, 400, `{"error":"channel_reserved","message":"notify: `},
		{"notify a pattern", path, `{"data":1,"notify":"devices/*"}`, 400, `{"error":"invalid_channel","message":"notify: `},
		{"rollout a number", path, `{"data":1,"ttlMs":1000,"rollout":60}`, 400, `{"error":"invalid_request","message":"rollout is a number; it must be an object with the fields perMinute, abort"}`},
		{"rollout null", path, `{"data":1,"ttlMs":1000,"rollout":null}`, 400, `{"error":"invalid_request","message":"rollout is null; it must be an object`},
		{"rollout without a TTL", path, `{"data":1,"rollout":{"perMinute":60}}`, 400, `{"error":"invalid_request","message":"rollout needs a ttlMs over 0`},
		{"rollout without a pace", path, `{"data":1,"ttlMs":1000,"rollout":{}}`, 400, `{"error":"invalid_request","message":"rollout.perMinute is missing; it must be a whole number of peers from 1 to 100000"}`},
		{"rollout at no pace", path, `{"data":1,"ttlMs":1000,"rollout":{"perMinute":0}}`, 400, `{"error":"invalid_request","message":"rollout.perMinute is 0; it must be a whole number of peers from 1 to 100000, in plain digits"}`},
		{"rollout with an unknown field", path, `{"data":1,"ttlMs":1000,"rollout":{"perHour":1}}`, 400, `{"error":"invalid_request","message":"there is no field \"rollout.perHour\"; the fields are perMinute, abort"}`},
		{"rollout with a field twice", path, `{"data":1,"ttlMs":1000,"rollout":{"perMinute":1,"perMinute":1}}`, 400, `{"error":"invalid_request","message":"rollout.perMinute is there twice; send it once"}`},
		{"abort true", path, `{"data":1,"ttlMs":1000,"rollout":{"perMinute":1,"abort":true}}`, 400, `{"error":"invalid_request","message":"rollout.abort is a boolean; it must be an object`},
		{"abort at no share", path, `{"data":1,"ttlMs":1000,"rollout":{"perMinute":1,"abort":{"minAnswered":1}}}`, 400, `{"error":"invalid_request","message":"rollout.abort.failedPct is missing; it must be a whole number of percent from 1 to 100"}`},
		{"abort over 100", path, `{"data":1,"ttlMs":1000,"rollout":{"perMinute":1,"abort":{"failedPct":101}}}`, 400, `{"error":"invalid_request","message":"rollout.abort.failedPct is 101; it must be a whole number of percent from 1 to 100, in plain digits"}`},
		{"abort of nobody", path, `{"data":1,"ttlMs":1000,"rollout":{"perMinute":1,"abort":{"failedPct":1,"minAnswered":0}}}`, 400, `{"error":"invalid_request","message":"rollout.abort.minAnswered is 0`},
		{"a foreign channel", "/v1/channels/public%2Fa/commands", `{"data":1}`, 403, `{"error":"channel_not_authorized"`},
		{"a reserved channel", "/v1/channels/_system%2Fa/commands", `{"data":1}`, 400, `{"error":"channel_reserved"`},
		{"a pattern", "/v1/channels/devices%2F*/commands", `{"data":1}`, 400, `{"error":"invalid_channel"`},
		{"no channel", "/v1/channels//commands", `{"data":1}`, 400, `{"error":"invalid_channel"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{}
			w := do(t, f, "POST", tt.target, tt.body)
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.answer) {
				t.Errorf("%d %s\nwant %d %s…", w.Code, w.Body, tt.status, tt.answer)
			}
			if len(f.created) > 0 {
				t.Error("created all the same")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		refusal    command.Refusal
		status     int
		answer     string
		retryAfter string
	}{
		{command.Refusal{Error: protocol.Errorf(protocol.NobodySubscribed, "m")}, 409, `{"error":"nobody_subscribed","message":"m"}`, ""},
		{command.Refusal{Error: protocol.Errorf(protocol.IdempotencyConflict, "m")}, 409, `{"error":"idempotency_conflict","message":"m"}`, ""},
		{command.Refusal{Error: protocol.Errorf(protocol.QueueFull, "m")}, 429, `{"error":"queue_full","message":"m"}`, "1"},
		{command.Refusal{Error: protocol.Errorf(protocol.OverMessageQuota, "m"), RetryAfter: time.Minute}, 429, `{"error":"over_message_quota","message":"m"}`, "60"},
		{command.Refusal{Error: protocol.Errorf(protocol.RateLimited, "m"), RetryAfter: 2 * time.Second}, 429, `{"error":"rate_limited","message":"key `, "2"},
		{command.Refusal{Error: protocol.Unknownf("m"), Cause: errors.New("reset by 10.0.0.7")}, 503, `{"error":"backend_error","message":"m","outcome":"unknown"}`, ""},
	}
	for _, tt := range tests {
		w := do(t, &fake{refusal: &tt.refusal}, "POST", path, `{"data":1}`)
		if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.answer) || w.Header().Get("Retry-After") != tt.retryAfter {
			t.Errorf("%d %s, Retry-After %q\nwant %d %s, %q", w.Code, w.Body, w.Header().Get("Retry-After"), tt.status, tt.answer, tt.retryAfter)
		}
	}
}

// A key that was over its rate takes its tokens ahead; every wrong request takes one.
func TestTokens(t *testing.T) {
	config, _ := apitest.Config(t)
	limiter := config.Limiter.(*apitest.Limiter)
	f := &fake{refusal: &command.Refusal{Error: protocol.Errorf(protocol.RateLimited, "")}}
	h := New(config, Config{Commands: f})
	apitest.Do(h, apitest.Request("POST", path, `{}`))
	apitest.Do(h, apitest.Request("POST", path, `{"data":1}`))
	if limiter.Asked[apitest.KeyID] != 1 || len(f.created) != 1 || f.created[0].HasToken {
		t.Errorf("%d tokens taken ahead, %d commands", limiter.Asked[apitest.KeyID], len(f.created))
	}
	apitest.Do(h, apitest.Request("POST", path, `{"data":1}`))
	if limiter.Asked[apitest.KeyID] != 2 || len(f.created) != 2 || !f.created[1].HasToken {
		t.Errorf("%d tokens taken ahead after that, %d commands", limiter.Asked[apitest.KeyID], len(f.created))
	}
}

func TestRead(t *testing.T) {
	ended, endedBody := example()
	for _, tt := range []struct {
		target  string
		command *command.Command
		status  int
		body    string
		waits   int
	}{
		{"/v1/commands/cmd_1", ended, 200, endedBody, 0},
		{"/v1/commands/cmd_1?waitMs=5000", ended, 200, endedBody, 1},
		{"/v1/commands/cmd_2", waiting(), 200, waitingBody, 0},
		{"/v1/commands/cmd_2?waitMs=0", waiting(), 200, waitingBody, 0},
		{"/v1/commands/cmd_2?waitMs=25000", waiting(), 202, waitingBody, 1},
	} {
		f := &fake{command: tt.command}
		apitest.Want(t, do(t, f, "GET", tt.target, ""), tt.status, tt.body)
		if len(f.waits) != tt.waits {
			t.Errorf("%s: waits %v", tt.target, f.waits)
		}
	}
}

func TestCancel(t *testing.T) {
	ended, endedBody := example()
	f := &fake{command: ended}
	apitest.Want(t, do(t, f, "DELETE", "/v1/commands/cmd%5F1", ""), 200, endedBody)
	if len(f.asked) != 2 || f.asked[0] != "channel app_demo cmd_1" || f.asked[1] != "cancel app_demo cmd_1" {
		t.Errorf("asked %v", f.asked)
	}
}

// Of what is not there, or not for the key, nothing is told; all that is wrong is.
func TestReadingRefuses(t *testing.T) {
	const notFound = `{"error":"command_not_found","message":"there is no such command"}`
	foreign := waiting()
	foreign.Channel = "public/a"
	for _, tt := range []struct {
		name, method, target string
		fake                 fake
		status               int
		answer               string
	}{
		{"unknown", "GET", "/v1/commands/cmd_9", fake{err: command.ErrNotFound}, 404, notFound},
		{"unknown answers", "GET", "/v1/commands/cmd_9/answers", fake{err: command.ErrNotFound}, 404, notFound},
		{"cancel an unknown one", "DELETE", "/v1/commands/cmd_9", fake{err: command.ErrNotFound}, 404, notFound},
		{"outside the key's patterns", "GET", "/v1/commands/cmd_2", fake{command: foreign}, 404, notFound},
		{"answers outside", "GET", "/v1/commands/cmd_2/answers", fake{command: foreign}, 404, notFound},
		{"cancel outside", "DELETE", "/v1/commands/cmd_2", fake{command: foreign}, 404, notFound},
		{"Redis is away", "GET", "/v1/commands/cmd_2", fake{err: errors.New("reset")}, 503, `{"error":"backend_error"`},
		{"waitMs too long", "GET", "/v1/commands/cmd_2?waitMs=25001", fake{}, 400, `{"error":"invalid_request","message":"waitMs is \"25001\"; it must be a whole number of milliseconds from 0 to 25000, in plain digits"}`},
		{"waitMs empty", "GET", "/v1/commands/cmd_2?waitMs=", fake{}, 400, `{"error":"invalid_request","message":"waitMs is \"\"`},
		{"waitMs with a plus", "GET", "/v1/commands/cmd_2?waitMs=%2B5", fake{}, 400, `{"error":"invalid_request","message":"waitMs is \"+5\"`},
		{"an unknown parameter", "GET", "/v1/commands/cmd_2?wait=5", fake{}, 400, `{"error":"invalid_request","message":"there is no parameter \"wait\"; the parameters are waitMs"}`},
		{"cancel with a parameter", "DELETE", "/v1/commands/cmd_2?force=1", fake{}, 400, `{"error":"invalid_request","message":"there is no parameter \"force\"; this path takes none"}`},
		{"a status of commands", "GET", "/v1/commands/cmd_2/answers?status=mixed", fake{}, 400, `{"error":"invalid_request","message":"status is \"mixed\"; it must be one of [\"sent\" \"received\" \"running\" \"succeeded\" \"failed\" \"rejected\" \"timed_out\"]"}`},
		{"a status of peers", "GET", path + "?status=sent", fake{}, 400, `{"error":"invalid_request","message":"status is \"sent\"; it must be one of [\"waiting\" \"active\" \"succeeded\" \"failed\" \"rejected\" \"timed_out\" \"mixed\" \"expired\" \"cancelled\" \"superseded\" \"aborted\"]"}`},
		{"an empty status", "GET", path + "?status=", fake{}, 400, `{"error":"invalid_request","message":"status is \"\"`},
		{"no limit", "GET", path + "?limit=0", fake{}, 400, `{"error":"invalid_request","message":"limit is \"0\"; it must be a whole number of entries from 1 to 500, in plain digits"}`},
		{"a cursor of another path", "GET", path + "?cursor=YWJj", fake{}, 400, `{"error":"invalid_request","message":"invalid cursor: `},
		{"a cursor that is none", "GET", "/v1/commands/cmd_2/answers?cursor=!", fake{}, 400, `{"error":"invalid_request","message":"invalid cursor: `},
		{"a list outside", "GET", "/v1/channels/public%2Fa/commands", fake{}, 403, `{"error":"channel_not_authorized"`},
		{"another method", "PUT", "/v1/commands/cmd_2", fake{}, 405, `{"error":"method_not_allowed"`},
		{"a method of the other path", "DELETE", path, fake{}, 405, `{"error":"method_not_allowed"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := do(t, &tt.fake, tt.method, tt.target, "")
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.answer) {
				t.Errorf("%d %s\nwant %d %s…", w.Code, w.Body, tt.status, tt.answer)
			}
			if len(tt.fake.waits) > 0 {
				t.Error("it waited")
			}
		})
	}
	w := do(t, &cancelled{fake{command: waiting()}}, "DELETE", "/v1/commands/cmd_2", "")
	apitest.Want(t, w, 409, `{"error":"command_final","message":"the command has ended, so it can't be cancelled"}`)
}

// cancelled has ended.
type cancelled struct{ fake }

func (cancelled) Cancel(context.Context, string, string) (*command.Command, error) {
	return nil, command.ErrFinal
}

func TestPages(t *testing.T) {
	ended, endedBody := example()
	f := &fake{page: command.Page{Commands: []*command.Command{ended, waiting()}, Next: "1767222000123000"}}
	apitest.Want(t, do(t, f, "GET", path, ""), 200, `{"channel":"devices/a","commands":[`+endedBody+`,`+waitingBody+`],"cursor":"MTc2NzIyMjAwMDEyMzAwMA"}`)
	apitest.Want(t, do(t, f, "GET", path+"?status=active&limit=7&cursor=MTc2NzIyMjAwMDEyMzAwMA", ""), 200, `{"channel":"devices/a","commands":[`+endedBody+`,`+waitingBody+`],"cursor":"MTc2NzIyMjAwMDEyMzAwMA"}`)
	want := []any{"app_demo", "devices/a", command.Status(""), "", 100, "app_demo", "devices/a", command.Active, "1767222000123000", 7}
	if !same(f.asked, want) {
		t.Errorf("asked %v, want %v", f.asked, want)
	}
	apitest.Want(t, do(t, &fake{}, "GET", path+"?cursor=", ""), 200, `{"channel":"devices/a","commands":[],"cursor":null}`)

	f = &fake{command: waiting(), answers: command.AnswersPage{Answers: ended.Answers[:1], Next: `a"`}}
	apitest.Want(t, do(t, f, "GET", "/v1/commands/cmd_2/answers?status=succeeded&limit=1&cursor=YQ", ""), 200,
		`{"answers":[{"peer":"a\"","status":"succeeded","data":[ 1 ],"attempt":1,"sentAt":1767222000130,"answeredAt":1767222000310}],"cursor":"YSI"}`)
	if want := []any{"channel app_demo cmd_2", "app_demo", "cmd_2", command.Succeeded, "a", 1}; !same(f.asked, want) {
		t.Errorf("asked %v, want %v", f.asked, want)
	}
	apitest.Want(t, do(t, &fake{command: waiting()}, "GET", "/v1/commands/cmd_2/answers", ""), 200, `{"answers":[],"cursor":null}`)
}

func same(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
