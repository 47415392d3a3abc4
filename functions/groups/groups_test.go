package groups_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/functions/groups"
	"fleetwire/functions/internal/apitest"
	"fleetwire/functions/publish"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/group"
	door "fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/sink"
)

const path = "/v1/groups/ingest"

// fake records what is asked of it, and answers as set.
type fake struct {
	asked   string
	err     error
	pulled  []group.Message
	held    []bool
	state   group.State
	letters []group.DeadLetter
	next    string
	sink    sink.State
}

func (f *fake) Read(_ context.Context, app *apps.App, g *apps.Group) (sink.State, error) {
	f.asked += fmt.Sprint(", sink ", app.ID, " ", g.Name)
	return f.sink, f.err
}

func (f *fake) Resume(_ context.Context, app *apps.App, g *apps.Group) error {
	f.asked = fmt.Sprint("resume ", app.ID, " ", g.Name)
	return f.err
}

func (f *fake) Wait(_ context.Context, p group.Pull, key string, most time.Duration) ([]group.Message, error) {
	f.asked = fmt.Sprint("pull ", p.App.ID, " ", p.Group.Name, " ", p.Consumer, " ", p.Max, " ", p.MaxBytes, " ", key, " ", most)
	return f.pulled, f.err
}

func (f *fake) Ack(_ context.Context, app *apps.App, g *apps.Group, acks []string, nacks []group.Nack) ([]bool, error) {
	f.asked = fmt.Sprint("ack ", app.ID, " ", g.Name, " ", acks, " ", nacks)
	return f.held, f.err
}

func (f *fake) State(_ context.Context, app *apps.App, g *apps.Group) (group.State, error) {
	f.asked = fmt.Sprint("state ", app.ID, " ", g.Name)
	return f.state, f.err
}

func (f *fake) Dead(_ context.Context, app *apps.App, g *apps.Group, after string, limit int) ([]group.DeadLetter, string, error) {
	f.asked = fmt.Sprint("dead ", app.ID, " ", g.Name, " ", after, " ", limit)
	return f.letters, f.next, f.err
}

func (f *fake) Redrive(_ context.Context, app *apps.App, g *apps.Group, ids []string) (int, error) {
	f.asked = fmt.Sprint("redrive ", app.ID, " ", g.Name, " ", ids)
	return 7, f.err
}

func (f *fake) DeleteDead(_ context.Context, app *apps.App, g *apps.Group, ids []string) (int, error) {
	f.asked = fmt.Sprint("delete ", app.ID, " ", g.Name, " ", ids)
	return 7, f.err
}

func ask(t *testing.T, f *fake, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	config, log := apitest.Config(t)
	w := apitest.Do(groups.New(config, groups.Config{Groups: f, Sinks: f}), apitest.Request(method, target, body))
	if w.Code < 500 && log.String() != "" {
		t.Errorf("logged: %s", log)
	}
	return w
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct{ method, target, body, asked string }{
		{"POST", path + "/pull", `{}`, "pull app_demo ingest sk_live_full 100 262144 sk_live_full 0s"},
		{"POST", path + "/pull/", `{"max":500,"maxBytes":524288,"waitMs":20000,"consumer":"a b"}`, "pull app_demo ingest a b 500 524288 sk_live_full 20s"},
		{"POST", path + "/pull", `{"max":1,"maxBytes":65536,"waitMs":0,"consumer":"` + strings.Repeat("c", 128) + `"}`, "pull app_demo ingest " + strings.Repeat("c", 128) + " 1 65536 sk_live_full 0s"},
		{"POST", path + "/ack", `{"ackIds":["a","b"],"nack":[{"ackId":"c"},{"ackId":"d","delayMs":43200000}]}`, "ack app_demo ingest [a b] [{c 0s false} {d 12h0m0s false}]"},
		{"POST", path + "/ack", `{"nack":[{"ackId":"c","delayMs":1}]}`, "ack app_demo ingest [] [{c 1ms false}]"},
		{"GET", path, "", "state app_demo ingest"},
		{"GET", "/v1/groups/crm", "", "state app_demo crm, sink app_demo crm"},
		{"POST", "/v1/groups/crm/ack", `{"ackIds":["a"]}`, "ack app_demo crm [a] []"}, // of a pull before the group had a sink
		{"POST", "/v1/groups/crm/resume", "", "resume app_demo crm"},
		{"POST", "/v1/groups/crm/resume/", ` {} `, "resume app_demo crm"},
		{"GET", path + "/dead", "", "dead app_demo ingest  100"},
		{"GET", path + "/dead?limit=1&cursor=YWI", "", "dead app_demo ingest ab 1"},
		{"POST", path + "/redrive", `{}`, "redrive app_demo ingest []"},
		{"POST", path + "/redrive", `{"ids":["x","y"]}`, "redrive app_demo ingest [x y]"},
		{"DELETE", path + "/dead", "", "delete app_demo ingest []"},
		{"DELETE", path + "/dead?id=x", "", "delete app_demo ingest [x]"},
	} {
		f := &fake{held: make([]bool, 4)}
		if w := ask(t, f, tt.method, tt.target, tt.body); w.Code != 200 || f.asked != tt.asked {
			t.Errorf("%s %s %s: %d %s, asked %q, want %q", tt.method, tt.target, tt.body, w.Code, w.Body, f.asked, tt.asked)
		}
	}
	config, _ := apitest.Config(t)
	f := &fake{}
	apitest.Do(groups.New(config, groups.Config{Groups: f, Sinks: f, MaxWait: time.Second}), apitest.Request("POST", path+"/pull", `{"waitMs":20000}`))
	if !strings.HasSuffix(f.asked, " 1s") {
		t.Errorf("asked %s of a function that waits for a second", f.asked)
	}
}

func TestRefusals(t *testing.T) {
	pull, ack, redrive := path+"/pull", path+"/ack", path+"/redrive"
	manyIDs := `["` + strings.Repeat(`x","`, 1000) + `x"]`
	for _, tt := range []struct {
		method, target, body string
		status               int
		code, says           string
	}{
		{"POST", pull, ``, 400, "invalid_request", "the body must be a JSON object with the fields max, maxBytes, waitMs, consumer"},
		{"POST", pull, `[]`, 400, "invalid_request", "the body must be a JSON object"},
		{"POST", pull, `{"Max":1}`, 400, "invalid_request", `there is no field \"Max\"; the fields are max, maxBytes, waitMs, consumer`},
		{"POST", pull, `{"max":1,"max":1}`, 400, "invalid_request", "max is there twice; send it once"},
		{"POST", pull, `{"max":0}`, 400, "invalid_request", "max is 0; it must be a whole number of messages from 1 to 500, in plain digits"},
		{"POST", pull, `{"max":501}`, 400, "invalid_request", "max is 501; it must be"},
		{"POST", pull, `{"max":"1"}`, 400, "invalid_request", "max is a string; it must be"},
		{"POST", pull, `{"max":null}`, 400, "invalid_request", "max is null; it must be"},
		{"POST", pull, `{"maxBytes":65535}`, 400, "invalid_request", "maxBytes is 65535; it must be a whole number of bytes from 65536 to 524288, in plain digits"},
		{"POST", pull, `{"maxBytes":524289}`, 400, "invalid_request", "maxBytes is 524289; it must be"},
		{"POST", pull, `{"waitMs":-1}`, 400, "invalid_request", "waitMs is -1; it must be a whole number of milliseconds from 0 to 20000, in plain digits"},
		{"POST", pull, `{"waitMs":20001}`, 400, "invalid_request", "waitMs is 20001; it must be"},
		{"POST", pull, `{"waitMs":1.5}`, 400, "invalid_request", "waitMs is 1.5; it must be"},
		{"POST", pull, `{"consumer":""}`, 400, "invalid_request", `consumer \"\" will not do; it must be 1–128 printable ASCII characters`},
		{"POST", pull, `{"consumer":"ü"}`, 400, "invalid_request", `consumer \"ü\" will not do`},
		{"POST", pull, `{"consumer":"` + strings.Repeat("c", 129) + `"}`, 400, "invalid_request", "consumer "},
		{"POST", pull, `{"consumer":1}`, 400, "invalid_request", "consumer is a number; it must be a string"},
		{"POST", ack, `{}`, 400, "invalid_request", "ackIds and nack name no message; name 1 to 1000"},
		{"POST", ack, `{"acks":[]}`, 400, "invalid_request", `there is no field \"acks\"; the fields are ackIds, nack`},
		{"POST", ack, `{"ackIds":[]}`, 400, "invalid_request", "ackIds has 0 entries; it must be an array of 1 to 1000 ids of messages"},
		{"POST", ack, `{"ackIds":"x"}`, 400, "invalid_request", "ackIds is a string; it must be an array of 1 to 1000 ids of messages"},
		{"POST", ack, `{"ackIds":["x",1]}`, 400, "invalid_request", "ackIds[1] is a number; it must be a string"},
		{"POST", ack, `{"ackIds":` + manyIDs + `}`, 400, "invalid_request", "ackIds has 1001 entries; it must be"},
		{"POST", ack, `{"nack":{}}`, 400, "invalid_request", `nack is an object; it must be an array of 1 to 1000 objects {\"ackId\",\"delayMs\"}`},
		{"POST", ack, `{"nack":[]}`, 400, "invalid_request", "nack has 0 entries"},
		{"POST", ack, `{"nack":["x"]}`, 400, "invalid_request", "nack[0] is a string; it must be an object with the fields ackId, delayMs"},
		{"POST", ack, `{"nack":[{}]}`, 400, "invalid_request", "nack[0] has no ackId; name the message that is to be delivered again"},
		{"POST", ack, `{"nack":[{"ackId":1}]}`, 400, "invalid_request", "ackId is a number; it must be a string"},
		{"POST", ack, `{"nack":[{"ackId":"x","delay":1}]}`, 400, "invalid_request", `there is no field \"delay\"; the fields are ackId, delayMs`},
		{"POST", ack, `{"nack":[{"ackId":"x","delayMs":43200001}]}`, 400, "invalid_request", "delayMs is 43200001; it must be a whole number of milliseconds from 0 to 43200000, in plain digits"},
		{"POST", ack, `{"ackIds":["` + strings.Repeat(`x","`, 600) + `x"],"nack":[` + strings.Repeat(`{"ackId":"x"},`, 399) + `{"ackId":"x"}]}`, 400, "invalid_request", "ackIds and nack name 1001 messages together; at most 1000 are allowed"},
		{"POST", ack, `{"ackIds":["` + strings.Repeat("x", 128<<10) + `"]}`, 413, "invalid_request", ""},
		{"POST", redrive, `{"ids":[]}`, 400, "invalid_request", "ids has 0 entries; it must be an array of 1 to 100 ids of dead letters, or left out for all"},
		{"POST", redrive, `{"ids":[1]}`, 400, "invalid_request", "ids[0] is a number; it must be a string"},
		{"POST", redrive, `{"id":"x"}`, 400, "invalid_request", `there is no field \"id\"; the fields are ids`},
		{"GET", path + "?limit=1", "", 400, "invalid_request", `there is no parameter \"limit\"; this path takes none`},
		{"GET", path + "/dead?limit=101", "", 400, "invalid_request", `limit is \"101\"; it must be a whole number of entries from 1 to 100, in plain digits`},
		{"GET", path + "/dead?limit=0", "", 400, "invalid_request", `limit is \"0\"`},
		{"GET", path + "/dead?cursor=!", "", 400, "invalid_request", "invalid cursor"},
		{"GET", path + "/dead?id=1", "", 400, "invalid_request", `there is no parameter \"id\"; the parameters are limit, cursor`},
		{"DELETE", path + "/dead?id=", "", 400, "invalid_request", "id is empty; name a dead letter, or leave it out to delete all"},
		{"DELETE", path + "/dead?ids=x", "", 400, "invalid_request", `there is no parameter \"ids\"; the parameters are id`},
		{"POST", "/v1/groups/crm/pull", `{}`, 400, "invalid_request", "group crm has a sink, which takes all its messages; to pull them too, add a group without a sink that has the same patterns"},
		{"POST", path + "/resume", ``, 400, "invalid_request", "group ingest has no sink; its messages wait for ingesters"},
		{"POST", "/v1/groups/crm/resume", `{"a":1}`, 400, "invalid_request", "this path takes no fields; leave the body empty, or send {}"},
		{"POST", "/v1/groups/crm/resume", `[]`, 400, "invalid_request", "this path takes no fields; leave the body empty, or send {}"},
		{"POST", "/v1/groups/other/resume", ``, 404, "group_not_found", ""},
		{"GET", "/v1/groups/other", "", 404, "group_not_found", `there is no group \"other\" in the app's configuration`},
		{"POST", "/v1/groups/Ingest/pull", `{}`, 404, "group_not_found", ""},
		{"POST", "/v1/groups/other/ack", `{"ackIds":["x"]}`, 404, "group_not_found", ""},
		{"GET", "/v1/groups/a%2Fb/dead", "", 404, "group_not_found", ""},
		{"GET", "/v1/groups/wide", "", 403, "channel_not_authorized", ""}, // one of its patterns is the key's
		{"POST", "/v1/groups/wide/pull", `{}`, 403, "channel_not_authorized", ""},
	} {
		f := &fake{}
		w := ask(t, f, tt.method, tt.target, tt.body)
		if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), `{"error":"`+tt.code+`","message":"`+tt.says) {
			t.Errorf("%s %s %.80s: %d %s, want %d %s %s", tt.method, tt.target, tt.body, w.Code, w.Body, tt.status, tt.code, tt.says)
		}
		if f.asked != "" {
			t.Errorf("%s %s %.80s: it went to the store", tt.method, tt.target, tt.body)
		}
	}
}

// All routes need a key that may subscribe to all that waits for the group.
func TestActions(t *testing.T) {
	config, _ := apitest.Config(t)
	f := &fake{}
	h := groups.New(config, groups.Config{Groups: f, Sinks: f})
	for credential, want := range map[string]string{
		apitest.NarrowID + ":" + apitest.Narrow: "channel_not_authorized",
		apitest.IdleID + ":" + apitest.Idle:     "action_not_permitted",
		apitest.PausedID + ":" + apitest.Paused: "account_suspended",
		apitest.PublicID:                        "unauthorized",
	} {
		for _, route := range [][3]string{
			{"POST", "/pull", "{}"}, {"POST", "/ack", `{"ackIds":["x"]}`}, {"GET", "/dead"}, {"DELETE", "/dead"}, {"POST", "/redrive", "{}"}, {"POST", "/resume"}, {"GET", ""},
		} {
			r := apitest.Request(route[0], path+route[1], route[2])
			r.Header.Set("Authorization", "Bearer "+credential)
			if w := apitest.Do(h, r); !strings.HasPrefix(w.Body.String(), `{"error":"`+want+`"`) {
				t.Errorf("%s %s with %s: %d %s, want %s", route[0], route[1], credential[:8], w.Code, w.Body, want)
			}
		}
	}
	if f.asked != "" {
		t.Errorf("it went to the store: %s", f.asked)
	}
}

func TestAnswers(t *testing.T) {
	content := envelope.Content{From: `cam"1`, FromMetadata: []byte(`{"a":1}`), Data: []byte(`{ "n": 1.0 }`)}
	f := &fake{
		pulled: []group.Message{{AckID: "x", Channel: `c"1`, PublishedAt: 1767222000123, Attempt: 2, Content: content}, {AckID: "y", Channel: "c", Attempt: 1, Content: envelope.Content{From: "a", Data: []byte("null")}}},
		held:   []bool{true, false, true},
		state: group.State{
			Lag: 1, Pending: 2, Dead: 3, Bytes: 4, OldestAgeMs: 5, DroppedByAge: 6, DroppedByOverflow: 7,
			Consumers: []group.Consumer{{Name: `a"`, Pending: 1}, {Name: "b", Pending: 1}},
		},
		letters: []group.DeadLetter{{ID: "x", Channel: "c", PublishedAt: 1, BuriedAt: 2, Attempts: 3, Reason: group.ReasonNack, Content: content}},
	}
	apitest.Want(t, ask(t, f, "POST", path+"/pull", "{}"), 200,
		`{"messages":[{"ackId":"x","channel":"c\"1","from":"cam\"1","fromMetadata":{"a":1},"data":{ "n": 1.0 },"publishedAt":1767222000123,"attempt":2},{"ackId":"y","channel":"c","from":"a","data":null,"publishedAt":0,"attempt":1}]}`)
	apitest.Want(t, ask(t, f, "POST", path+"/ack", `{"ackIds":["x","y"],"nack":[{"ackId":"z"}]}`), 200,
		`{"results":[{"ackId":"x","result":"ok"},{"ackId":"y","result":"lease_lost"},{"ackId":"z","result":"ok"}]}`)
	apitest.Want(t, ask(t, f, "GET", path, ""), 200,
		`{"group":"ingest","lag":1,"pending":2,"dead":3,"bytes":4,"oldestAgeMs":5,"droppedByAge":6,"droppedByOverflow":7,"consumers":[{"consumer":"a\"","pending":1},{"consumer":"b","pending":1}]}`)
	const crm = `{"group":"crm","lag":1,"pending":2,"dead":3,"bytes":4,"oldestAgeMs":5,"droppedByAge":6,"droppedByOverflow":7,"consumers":[{"consumer":"a\"","pending":1},{"consumer":"b","pending":1}],"sink":{"type":"webhook","state":`
	f.sink = sink.State{Condition: sink.OK}
	apitest.Want(t, ask(t, f, "GET", "/v1/groups/crm", ""), 200, crm+`"ok"}}`)
	f.sink = sink.State{Condition: sink.Failing, Since: 1, RetryAt: 2, LastError: `a "b"`, LastErrorAt: 3, LastDeliveredAt: 4}
	apitest.Want(t, ask(t, f, "GET", "/v1/groups/crm", ""), 200, crm+`"failing","lastError":"a \"b\"","lastErrorAt":3,"failingSince":1,"retryAt":2,"lastDeliveredAt":4}}`)
	apitest.Want(t, ask(t, f, "POST", "/v1/groups/crm/resume", ""), 200, `{"state":"ok"}`)
	const letter = `{"messages":[{"id":"x","channel":"c","from":"cam\"1","fromMetadata":{"a":1},"data":{ "n": 1.0 },"publishedAt":1,"deadAt":2,"attempts":3,"reason":"nack"}],"cursor":`
	apitest.Want(t, ask(t, f, "GET", path+"/dead", ""), 200, letter+`null}`)
	f.next = "ab"
	apitest.Want(t, ask(t, f, "GET", path+"/dead", ""), 200, letter+`"YWI"}`)
	apitest.Want(t, ask(t, f, "POST", path+"/redrive", "{}"), 200, `{"redriven":7}`)
	apitest.Want(t, ask(t, f, "DELETE", path+"/dead", ""), 200, `{"deleted":7}`)
	f.err = group.ErrAckID
	apitest.Want(t, ask(t, f, "POST", path+"/ack", `{"ackIds":["x"]}`), 400, `{"error":"invalid_request","message":"invalid ackId: repeat each ackId exactly as a pull has given it; nothing was acknowledged or refused"}`)
	f.err = group.ErrDeadID
	apitest.Want(t, ask(t, f, "GET", path+"/dead?cursor=YWI", ""), 400, `{"error":"invalid_request","message":"invalid cursor: repeat the cursor of the page before exactly as it came, or leave it out to begin at the top"}`)
	for _, w := range []*httptest.ResponseRecorder{ask(t, f, "POST", path+"/redrive", `{"ids":["x"]}`), ask(t, f, "DELETE", path+"/dead?id=x", "")} {
		apitest.Want(t, w, 400, `{"error":"invalid_request","message":"invalid id of a dead letter: repeat each id exactly as GET …/dead has given it; nothing was done"}`)
	}
	f.err = errors.New("no Redis")
	for _, tt := range []struct{ method, target, body, want string }{
		{"POST", "/pull", "{}", `Redis did not answer; messages may have been leased, and are delivered again when their leases end; try again","outcome":"unknown"}`},
		{"POST", "/ack", `{"ackIds":["x"]}`, `Redis did not answer; some of the messages may be acknowledged; try again, which does no harm","outcome":"unknown"}`},
		{"GET", "", "", `Redis did not say what waits for the group; try again","outcome":"none"}`},
		{"GET", "/dead", "", `Redis did not say which dead letters there are; try again","outcome":"none"}`},
		{"POST", "/redrive", "{}", `Redis did not answer; it may have been done for some of the dead letters; try again, which does no harm","outcome":"unknown"}`},
		{"DELETE", "/dead", "", `Redis did not answer; it may have been done for some of the dead letters; try again, which does no harm","outcome":"unknown"}`},
	} {
		apitest.Want(t, ask(t, f, tt.method, path+tt.target, tt.body), 503, `{"error":"backend_error","message":"`+tt.want)
	}
	apitest.Want(t, ask(t, f, "POST", "/v1/groups/crm/resume", ""), 503,
		`{"error":"backend_error","message":"Redis did not answer; the sink may be tried again already; try again, which does no harm","outcome":"unknown"}`)
}

func TestNewNeedsGroups(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New did not panic")
		}
	}()
	config, _ := apitest.Config(t)
	groups.New(config, groups.Config{})
}

// A message that REST publishes waits for its group until it is acknowledged or a dead letter; a
// full group answers 429.
func TestOnRedis(t *testing.T) {
	rdb := redistest.Patient(redistest.Start(t).Client())
	config, _ := apitest.Config(t)
	log := slog.New(slog.DiscardHandler)
	service := group.NewService(group.Options{Redis: rdb}, log)
	t.Cleanup(service.Close)
	writes := publish.New(config, door.New(door.Options{Redis: rdb, Log: log, Now: time.Now}))
	h := groups.New(config, groups.Config{Groups: service, Sinks: sink.NewStates(rdb, rediskeys.Namespace{})})
	do := func(method, target, body string, into any) {
		t.Helper()
		w := apitest.Do(h, apitest.Request(method, path+target, body))
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != 200 {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
	}
	type page struct {
		Messages []struct {
			AckID, ID, Channel, From, Reason string
			FromMetadata, Data               json.RawMessage
			PublishedAt                      int64
			Attempt                          int
		}
		Results []struct{ AckID, Result string }
		Dead    int
		Bytes   int64
	}
	const item = `{"channel":"devices/a/events","data":%v,"from":"cam","peerMetadata":{"k":1}}`
	w := apitest.Do(writes, apitest.Request("POST", "/v1/publish", fmt.Sprintf(`{"messages":[`+item+`,`+item+`,`+item+`]}`, 0, 1, 2)))
	if w.Code != 200 || strings.Contains(w.Body.String(), "error") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for attempt := 1; attempt <= 10; attempt++ {
		var p, results page
		do("POST", "/pull", `{"waitMs":1000}`, &p)
		want := 3
		if attempt > 1 {
			want = 1
		}
		if len(p.Messages) != want || p.Messages[0].Attempt != attempt || string(p.Messages[0].FromMetadata) != `{"k":1}` || p.Messages[0].From != "cam" {
			t.Fatalf("attempt %d: %+v", attempt, p)
		}
		nack := p.Messages[0].AckID
		var acks []string
		for _, m := range p.Messages[1:] {
			acks = append(acks, `"`+m.AckID+`"`)
		}
		body := `{"nack":[{"ackId":"` + nack + `"}]`
		if len(acks) > 0 {
			body += `,"ackIds":[` + strings.Join(acks, ",") + `]`
		}
		do("POST", "/ack", body+`}`, &results)
		if len(results.Results) != want || slices.ContainsFunc(results.Results, func(r struct{ AckID, Result string }) bool { return r.Result != "ok" }) {
			t.Errorf("attempt %d: %+v", attempt, results)
		}
	}
	var state, dead page
	do("GET", "", "", &state)
	do("GET", "/dead", "", &dead)
	if state.Dead != 1 || len(dead.Messages) != 1 || dead.Messages[0].Reason != "nack" || string(dead.Messages[0].Data) != "0" {
		t.Errorf("%+v %+v", state, dead)
	}
	do("DELETE", "/dead?id="+dead.Messages[0].ID, "", &state)
	big := `"` + strings.Repeat("x", 30000) + `"`
	eight := strings.Repeat(fmt.Sprintf(item, big)+",", 7) + fmt.Sprintf(item, big)
	for range 5 {
		w = apitest.Do(writes, apitest.Request("POST", "/v1/publish", `{"messages":[`+eight+`]}`))
	}
	const refusal = `{"error":"group_full","message":"the group ingest has no room for the message; nothing was published"}`
	if w.Code != 200 || strings.Count(w.Body.String(), refusal) != 6 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = apitest.Do(writes, apitest.Request("POST", "/v1/channels/devices%2Fa%2Fevents/publish", `{"data":`+big+`}`))
	if apitest.Want(t, w, 429, refusal); w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
	}
}
