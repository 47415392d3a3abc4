package publish

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn"
)

const path = "/v1/channels/devices%2Fa/publish"

// door records what is published and answers as set.
type door struct {
	refuse *protocol.Error // Check's
	result publish.Result
	got    []publish.Message
}

func (d *door) Check(publish.Message) *protocol.Error { return d.refuse }

func (d *door) Publish(_ context.Context, m publish.Message) publish.Result {
	d.got = append(d.got, m)
	return d.result
}

// Submit answers at once.
func (d *door) Submit(m publish.Message, done publish.Completion) *protocol.Error {
	if d.refuse != nil {
		return d.refuse
	}
	done.Published(d.Publish(context.Background(), m))
	done.Flush()
	return nil
}

func post(t *testing.T, publisher Publisher, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	config, log := apitest.Config(t)
	w := apitest.Do(New(config, publisher), apitest.Request("POST", target, body))
	if w.Code < 500 && log.String() != "" {
		t.Errorf("logged: %s", log)
	}
	if strings.Contains(log.String(), apitest.SecretTip) {
		t.Errorf("a secret is in the log: %s", log)
	}
	return w
}

func TestPublishedMessages(t *testing.T) {
	most := `{"k":"` + strings.Repeat("<", 4096-8) + `"}`
	tests := []struct {
		name     string
		body     string
		from     string
		metadata string // "" none
		data     string
	}{
		{"data alone", `{"data":{"on":true}}`, "server", "", `{"on":true}`},
		{"data verbatim", "{ \"data\" :\t{ \"n\" : 1.0e+2,\n\"s\":\"\\u0041<\\/\" , \"n\":1 } }", "server", "", "{ \"n\" : 1.0e+2,\n\"s\":\"\\u0041<\\/\" , \"n\":1 }"},
		{"null", `{"data":null}`, "server", "", `null`},
		{"false", `{"data":false}`, "server", "", `false`},
		{"zero", `{"data":-0}`, "server", "", `-0`},
		{"empty string", `{"data":""}`, "server", "", `""`},
		{"number that no float holds", `{"data":12345678901234567890.000}`, "server", "", `12345678901234567890.000`},
		{"from", `{"from":"control-plane","data":1}`, "control-plane", "", `1`},
		{"longest from", `{"from":"` + strings.Repeat("~", 128) + `","data":1}`, strings.Repeat("~", 128), "", `1`},
		{"peerMetadata is compacted", `{"peerMetadata":{ "a" : [ 1 ] },"data":1}`, "server", `{"a":[1]}`, `1`},
		{"most peerMetadata", `{"peerMetadata":` + most + `,"data":1}`, "server", most, `1`},
		{"empty peerMetadata", `{"peerMetadata":{},"data":1}`, "server", `{}`, `1`},
		{"null peerMetadata", `{"peerMetadata":null,"data":1}`, "server", "", `1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &door{result: publish.Result{Subscribers: 1000}}
			apitest.Want(t, post(t, d, path, tt.body), 200, `{"channel":"devices/a","subscribers":1000}`)
			if len(d.got) != 1 {
				t.Fatalf("published %d messages, want 1", len(d.got))
			}
			m := d.got[0]
			if m.Channel != "devices/a" || m.From != tt.from || string(m.FromMetadata) != tt.metadata || string(m.Data) != tt.data {
				t.Errorf("published %q from %q %s: %s\nwant from %q %s: %s", m.Channel, m.From, m.FromMetadata, m.Data, tt.from, tt.metadata, tt.data)
			}
			if (m.FromMetadata == nil) != (tt.metadata == "") {
				t.Errorf("metadata is nil: %v", m.FromMetadata == nil)
			}
			if !m.CountSubscribers || m.Connection != 0 {
				t.Errorf("CountSubscribers %v, Connection %d; want true, 0", m.CountSubscribers, m.Connection)
			}
			g := m.Grant
			if g.App.ID != "app_demo" || g.Key.ID != apitest.KeyID || !g.Can(apps.ActionPublish) || g.Check(apps.ActionPublish, "devices/a") != nil || g.Check(apps.ActionPublish, "public/a") == nil {
				t.Errorf("the grant is not the key's: app %s, key %s", g.App.ID, g.Key.ID)
			}
		})
	}
}

// A channel and all its spellings in a path (protocol §5).
func TestChannelSpellings(t *testing.T) {
	tests := []struct{ path, channel string }{
		{"devices%2Fcam-1%2Fcommands", "devices/cam-1/commands"},
		{"devices%2fcam-1%2fcommands", "devices/cam-1/commands"},
		{"devices/cam-1/commands", "devices/cam-1/commands"}, // a front door decoded it
		{"devices/cam-1%2Fcommands", "devices/cam-1/commands"},
		{"publish", "publish"},
		{"a/publish", "a/publish"},
		{"a%2Fpublish", "a/publish"},
		{"a/publish/b", "a/publish/b"},
		{"a//b", "a//b"},
		{"/a/", "/a/"},
		{"a+b", "a+b"},
		{"a%2Bb", "a+b"},
		{"a%20b", "a b"},
		{"a%2520b", "a%20b"}, // decoded once
		{"%E2%82%AC/%F0%9F%9A%9A", "€/🚚"},
		{"a%3Fb%23c", "a?b#c"},
		{"a;b=c,d", "a;b=c,d"},
		{"a:b@c", "a:b@c"},
		{"%5C%2A", `\*`},
		{"a*", "a*"}, // a pattern, for the door to refuse
	}
	for _, tt := range tests {
		d := &door{}
		w := post(t, d, "/v1/channels/"+tt.path+"/publish?x=/publish", `{"data":1}`)
		if w.Code != 200 || len(d.got) != 1 || d.got[0].Channel != tt.channel {
			t.Errorf("%s: %d %s, want channel %q", tt.path, w.Code, w.Body, tt.channel)
			continue
		}
		apitest.Want(t, w, 200, `{"channel":`+string(protocol.AppendString(nil, tt.channel))+`,"subscribers":0}`)
	}
}

func TestRefusedRequests(t *testing.T) {
	tests := []struct {
		name, target, body string
		status             int
		answer             string
	}{
		{"no data", path, `{}`, 400, `{"error":"missing_data","message":"data is missing; it may be any JSON value, null included"}`},
		{"no body", path, ``, 400, `{"error":"invalid_request","message":"the body must be a JSON object with the fields data, from, peerMetadata, idempotencyKey, ifOffset, ifEpoch: `},
		{"data in another case", path, `{"Data":1}`, 400, `{"error":"invalid_request","message":"there is no field \"Data\"; the fields are data, from, peerMetadata, idempotencyKey, ifOffset, ifEpoch"}`},
		{"data twice", path, `{"data":1,"data":2}`, 400, `{"error":"invalid_request","message":"data is there twice; send it once"}`},
		{"data is no JSON", path, `{"data":undefined}`, 400, `{"error":"invalid_request","message":"the body must be a JSON object`},
		{"data with invalid UTF-8", path, "{\"data\":\"\xc3\"}", 400, `{"error":"invalid_request","message":"the body must be a JSON object`},
		{"number as from", path, `{"data":1,"from":7}`, 400, `{"error":"invalid_request","message":"from is a number; it must be a string"}`},
		{"null from", path, `{"data":1,"from":null}`, 400, `{"error":"invalid_request","message":"from is null; it must be a string"}`},
		{"half a character in from", path, `{"data":1,"from":"a\ud800"}`, 400, `{"error":"invalid_peer_id","message":"from has half a character in it `},
		{"data of 129 levels", path, `{"data":` + strings.Repeat("[", 129) + strings.Repeat("]", 129) + `}`, 400, `{"error":"invalid_request","message":"the body must be a JSON object with the fields data, from, peerMetadata, idempotencyKey, ifOffset, ifEpoch: broken JSON at byte 136: nested too deep, expected at most 128 levels"}`},
		{"peerMetadata of 17 levels", path, `{"data":1,"peerMetadata":{"k":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}}`, 400, `{"error":"invalid_request","message":"peerMetadata is nested too deep; at most 16 levels are allowed"}`},
		{"empty from", path, `{"data":1,"from":""}`, 400, `{"error":"invalid_peer_id","message":"from \"\" will not do; it must be 1–128 printable ASCII characters"}`},
		{"long from", path, `{"data":1,"from":"` + strings.Repeat("f", 129) + `"}`, 400, `{"error":"invalid_peer_id","message":"from \"` + strings.Repeat("f", 80) + `…\" will not do; `},
		{"from outside ASCII", path, `{"data":1,"from":"ü"}`, 400, `{"error":"invalid_peer_id","message":"from \"ü\" will not do; `},
		{"array as peerMetadata", path, `{"data":1,"peerMetadata":[]}`, 400, `{"error":"invalid_request","message":"peerMetadata must be a JSON object, got an array"}`},
		{"peerMetadata over its bound", path, `{"data":1,"peerMetadata":{"k":"` + strings.Repeat("x", 4096-7) + `"}}`, 400, `{"error":"invalid_request","message":"peerMetadata is 4097 bytes long as compact JSON; at most 4096 are allowed"}`},
		{"body over its bound", path, `{"data":"` + strings.Repeat("x", 32<<10) + `"}`, 413, `{"error":"invalid_request","message":"the body is larger than 32768 bytes, the most that is taken"}`},
		{"another path", "/v1/channels/devices%2Fa/peers", `{"data":1}`, 404, `{"error":"not_found","message":"nothing is served at this path; there is POST /v1/channels/{channel}/publish, POST /v1/publish"}`},
		{"no channel segment", "/v1/channels/publish", `{"data":1}`, 404, `{"error":"not_found","message":"nothing is served at this path; there is POST /v1/channels/{channel}/publish, POST /v1/publish"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &door{}
			w := post(t, d, tt.target, tt.body)
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.answer) {
				t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, tt.status, tt.answer)
			}
			if len(d.got) != 0 {
				t.Errorf("published %v", d.got)
			}
		})
	}
}

func TestWhatTheDoorAnswers(t *testing.T) {
	tests := []struct {
		name   string
		result publish.Result
		status int
		retry  string
		body   string
	}{
		{"nobody there", publish.Result{}, 200, "", `{"channel":"devices/a","subscribers":0}`},
		{"over quota", publish.Result{Err: protocol.Errorf(protocol.OverMessageQuota, "used up"), RetryAfter: 36*time.Hour + 1}, 429, "129601", `{"error":"over_message_quota","message":"used up"}`},
		{"over quota as the period ends", publish.Result{Err: protocol.Errorf(protocol.OverMessageQuota, "used up")}, 429, "1", `{"error":"over_message_quota","message":"used up"}`},
		{"not authorized", publish.Result{Err: protocol.Errorf(protocol.ChannelNotAuthorized, "no")}, 403, "", `{"error":"channel_not_authorized","message":"no"}`},
		{"Redis away", publish.Result{Err: protocol.Errorf(protocol.BackendError, "try again")}, 503, "", `{"error":"backend_error","message":"try again","outcome":"none"}`},
		{"Redis did not answer", publish.Result{Err: protocol.Unknownf("try again")}, 503, "", `{"error":"backend_error","message":"try again","outcome":"unknown"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := post(t, &door{result: tt.result}, path, `{"data":1}`)
			apitest.Want(t, w, tt.status, tt.body)
			if got := w.Header().Get("Retry-After"); got != tt.retry {
				t.Errorf("Retry-After: %q, want %q", got, tt.retry)
			}
		})
	}
}

var _ Publisher = (*publish.Service)(nil)

// The real door, up to where it would need Redis: the codes of protocol §5 in the order of §4.4.
func TestTheDoorsChecks(t *testing.T) {
	health := redisconn.NewHealth(slog.New(slog.DiscardHandler))
	health.Observe(errors.New("redis is away"))
	service := publish.New(publish.Options{Health: health}) // no Redis: to reach it is a panic
	for _, tt := range []struct {
		name, credential, channel string
		status                    int
		code                      string
	}{
		{"empty channel", "", "", 400, "invalid_channel"},
		{"a pattern", "", "devices/*", 400, "invalid_channel"},
		{"level that folds", "", "devices%2F..%2Fa", 400, "invalid_channel"},
		{"control character", "", "devices%2F%07", 400, "invalid_channel"},
		{"invalid UTF-8", "", "devices%2F%FF", 400, "invalid_channel"},
		{"an overlong slash", "", "devices%C0%AFa", 400, "invalid_channel"},
		{"half a character", "", "devices%2F%ED%A0%80", 400, "invalid_channel"},
		{"two halves of a character", "", "devices%2F%ED%A0%BD%ED%B8%80", 400, "invalid_channel"},
		{"257 bytes", "", strings.Repeat("c", 257), 400, "invalid_channel"},
		{"reserved", "", "_system%2Fa", 400, "channel_reserved"},
		{"reserved, and no right to publish", apitest.NarrowID + ":" + apitest.Narrow, "_internal%2Fa", 400, "channel_reserved"},
		{"no right to publish, and beside the key's patterns", apitest.NarrowID + ":" + apitest.Narrow, "devices%2Fa", 403, "action_not_permitted"},
		{"beside the key's patterns", "", "public%2Fa", 403, "channel_not_authorized"},
		{"Redis away", "", "devices%2Fa", 503, "backend_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config, _ := apitest.Config(t)
			r := apitest.Request("POST", "/v1/channels/"+tt.channel+"/publish", `{"data":1}`)
			if tt.credential != "" {
				r.Header.Set("Authorization", "Bearer "+tt.credential)
			}
			w := apitest.Do(New(config, service), r)
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), `{"error":"`+tt.code+`","message":"`) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
		})
	}
}

func TestPublishIsGuarded(t *testing.T) {
	d := &door{}
	config, _ := apitest.Config(t)
	h := New(config, d)
	for name, change := range map[string]func(*http.Request){
		"401": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.PublicID) },
		"403": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.PausedID+":"+apitest.Paused) },
		"405": func(r *http.Request) { r.Method = "GET" },
		"415": func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
	} {
		r := apitest.Request("POST", path, `{"data":1}`)
		change(r)
		if w := apitest.Do(h, r); http.StatusText(w.Code) == "" || !strings.HasPrefix(name, w.Result().Status[:3]) {
			t.Errorf("%d %s, want %s", w.Code, w.Body, name)
		}
	}
	if len(d.got) != 0 {
		t.Errorf("published %v", d.got)
	}
}

func TestNewNeedsAPublisher(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New did not panic")
		}
	}()
	config, _ := apitest.Config(t)
	New(config, nil)
}
