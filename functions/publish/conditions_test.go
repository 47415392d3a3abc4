package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/history"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// The handler hands keys and conditions to the door, and refuses wrong ones itself.
func TestConditionsInTheBody(t *testing.T) {
	zero, most := uint64(0), uint64(protocol.MaxOffset)
	for _, tt := range []struct {
		fields string
		want   publish.Message
	}{
		{`"data":1`, publish.Message{}},
		{`"data":1,"idempotencyKey":"k"`, publish.Message{IdempotencyKey: "k"}},
		{`"data":1,"idempotencyKey":"` + strings.Repeat("é", 64) + `"`, publish.Message{IdempotencyKey: strings.Repeat("é", 64)}},
		{`"data":1,"ifOffset":0`, publish.Message{IfOffset: &zero}},
		{`"data":1,"ifEpoch":"6Hq2","ifOffset":9007199254740991`, publish.Message{IfOffset: &most, IfEpoch: "6Hq2"}},
		{`"data":1,"ifOffset":0,"ifEpoch":"` + strings.Repeat("z", 32) + `"`, publish.Message{IfOffset: &zero, IfEpoch: strings.Repeat("z", 32)}},
	} {
		for target, body := range map[string]string{path: `{` + tt.fields + `}`, manyPath: messagesOf(`{"channel":"devices/a",` + tt.fields + `}`)} {
			d := &door{}
			w := post(t, d, target, body)
			if w.Code != 200 || len(d.got) != 1 {
				t.Errorf("%s: %d %s", body, w.Code, w.Body)
				continue
			}
			m := d.got[0]
			if m.IdempotencyKey != tt.want.IdempotencyKey || m.IfEpoch != tt.want.IfEpoch || (m.IfOffset == nil) != (tt.want.IfOffset == nil) || m.IfOffset != nil && *m.IfOffset != *tt.want.IfOffset {
				t.Errorf("%s: published %+v", body, m)
			}
		}
	}
	for _, tt := range []struct{ fields, says string }{
		{`"idempotencyKey":""`, `idempotencyKey is 0 bytes long; it must be 1 to 128 bytes`},
		{`"idempotencyKey":"` + strings.Repeat("é", 64) + `x"`, `idempotencyKey is 129 bytes long; it must be 1 to 128 bytes`},
		{`"idempotencyKey":7`, `idempotencyKey is a number; it must be a string`},
		{`"idempotencyKey":null`, `idempotencyKey is null; it must be a string`},
		{`"idempotencyKey":"\ud800"`, `idempotencyKey has half a character in it `},
		{`"ifOffset":-1`, `ifOffset is -1; it must be a whole number of messages from 0 to 9007199254740991, in plain digits`},
		{`"ifOffset":9007199254740992`, `ifOffset is 9007199254740992; it must be `},
		{`"ifOffset":1.0`, `ifOffset is 1.0; it must be `},
		{`"ifOffset":1e2`, `ifOffset is 1e2; it must be `},
		{`"ifOffset":"1"`, `ifOffset is a string; it must be `},
		{`"ifOffset":null`, `ifOffset is null; it must be `},
		{`"ifEpoch":"6Hq2"`, `ifEpoch is there without ifOffset; an epoch alone is no condition`},
		{`"ifOffset":1,"ifEpoch":""`, `ifEpoch \"\" will not do; it must be 1 to 32 letters and digits`},
		{`"ifOffset":1,"ifEpoch":"a-b"`, `ifEpoch \"a-b\" will not do; `},
		{`"ifOffset":1,"ifEpoch":"` + strings.Repeat("z", 33) + `"`, `ifEpoch \"` + strings.Repeat("z", 33) + `\" will not do; `},
		{`"ifOffset":1,"ifEpoch":5`, `ifEpoch is a number; it must be a string`},
	} {
		want := `{"error":"invalid_request","message":"` + tt.says
		d := &door{}
		if w := post(t, d, path, `{"data":1,`+tt.fields+`}`); w.Code != 400 || !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("%s: %d %s, want %s", tt.fields, w.Code, w.Body, want)
		}
		if w := post(t, d, manyPath, messagesOf(`{"channel":"devices/a","data":1,`+tt.fields+`}`)); w.Code != 200 || !strings.HasPrefix(w.Body.String(), `{"results":[`+want) {
			t.Errorf("of many, %s: %d %s, want %s", tt.fields, w.Code, w.Body, want)
		}
		if len(d.got) != 0 {
			t.Errorf("%s: published %v", tt.fields, d.got)
		}
	}
}

// The answer has the positions that the door returns.
func TestPositionsInTheAnswer(t *testing.T) {
	at := &protocol.Position{Epoch: "6Hq2", Offset: 41}
	mismatch := publish.Result{
		Err: protocol.Errorf(protocol.OffsetMismatch, "no"), Position: at,
		Current: &history.Message{Offset: 41, At: 1767222000123, From: "cam", Data: []byte(`{ "n": 1.0 }`)},
	}
	forgotten := mismatch
	forgotten.Current = nil
	const newest = `,"newest":{"offset":41,"at":1767222000123,"from":"cam","data":{ "n": 1.0 }}`
	for _, tt := range []struct {
		name      string
		result    publish.Result
		status    int
		alone, in string // alone, and in the results of many
	}{
		{"published", publish.Result{Subscribers: 2, Position: at}, 200, `{"channel":"devices/a","subscribers":2,"epoch":"6Hq2","offset":41}`, `{"channel":"devices/a","subscribers":2,"epoch":"6Hq2","offset":41}`},
		{"mismatch", mismatch, 412, `{"error":"offset_mismatch","message":"no","epoch":"6Hq2","offset":41` + newest + `}`, `{"error":"offset_mismatch","message":"no","epoch":"6Hq2","offset":41}`},
		{"mismatch with what is forgotten", forgotten, 412, `{"error":"offset_mismatch","message":"no","epoch":"6Hq2","offset":41}`, `{"error":"offset_mismatch","message":"no","epoch":"6Hq2","offset":41}`},
		{"conflict", publish.Result{Err: protocol.Errorf(protocol.IdempotencyConflict, "no")}, 409, `{"error":"idempotency_conflict","message":"no"}`, `{"error":"idempotency_conflict","message":"no"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			apitest.Want(t, post(t, &door{result: tt.result}, path, `{"data":1}`), tt.status, tt.alone)
			apitest.Want(t, post(t, &door{result: tt.result}, manyPath, messagesOf(`{"channel":"devices/a","data":1}`)), 200, `{"results":[`+tt.in+`]}`)
		})
	}
}

// realDoor is the handler on a Redis, and what a backend sends it.
func realDoor(t *testing.T) (ask func(target, body string) (int, answer), used func() int) {
	rdb := redistest.Start(t).Client()
	config, _ := apitest.Config(t)
	limits := &config.Apps.Current().Apps()[0].Limits
	limits.RESTPerSec, limits.RESTBurst = 1_000_000, 1_000_000
	config.Limiter = quota.NewRateLimiter(rdb, rediskeys.Namespace{})
	h := New(config, service(rdb))
	ask = func(target, body string) (int, answer) {
		w := apitest.Do(h, apitest.Request("POST", target, body))
		var a answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Errorf("%d %s: %v", w.Code, w.Body, err)
		}
		return w.Code, a
	}
	return ask, func() int {
		n, err := rdb.Get(context.Background(), quota.Messages(rediskeys.Namespace{}, config.Apps.Current().Apps()[0], time.Now()).Key).Int()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

type answer struct {
	Error, Message, Epoch string
	Subscribers, Offset   int
	Newest                *struct {
		Offset int
		From   string
		Data   json.RawMessage
	}
}

func TestConditionsOnRedis(t *testing.T) {
	ask, used := realDoor(t)
	const state = "/v1/channels/devices%2Fa%2Fstate/publish"
	if status, a := ask(path, `{"data":1,"ifOffset":0}`); status != 400 || a.Error != "invalid_request" || !strings.Contains(a.Message, `"devices/a"`) {
		t.Errorf("a channel that remembers nothing: %d %+v", status, a)
	}
	_, first := ask(state, `{"data":{ "v" : 1 },"ifOffset":0,"from":"a"}`)
	if first.Offset != 1 || !protocol.ValidEpoch(first.Epoch) {
		t.Fatalf("the first: %+v", first)
	}
	for _, body := range []string{`{"data":2,"ifOffset":0}`, `{"data":2,"ifOffset":2}`, `{"data":2,"ifOffset":1,"ifEpoch":"other"}`} {
		status, a := ask(state, body)
		if status != 412 || a.Error != "offset_mismatch" || a.Epoch != first.Epoch || a.Offset != 1 || a.Newest == nil || string(a.Newest.Data) != `{ "v" : 1 }` || a.Newest.From != "a" || a.Newest.Offset != 1 {
			t.Errorf("%s: %d %+v", body, status, a)
		}
	}
	if status, a := ask(state, fmt.Sprintf(`{"data":2,"ifOffset":1,"ifEpoch":%q}`, first.Epoch)); status != 200 || a.Offset != 2 || a.Epoch != first.Epoch {
		t.Errorf("the second: %d %+v", status, a)
	}
	if n := used(); n != 2 {
		t.Errorf("%d messages are counted, want 2", n)
	}
}

// Thirty writers race for ten versions: one wins each.
func TestRacingWriters(t *testing.T) {
	ask, used := realDoor(t)
	const state = "/v1/channels/devices%2Fa%2Fstate/publish"
	const writers, versions = 30, 10
	won := make([][]int, versions)
	var mu sync.Mutex
	var all sync.WaitGroup
	for writer := range writers {
		all.Go(func() {
			for version := 0; version < versions; {
				status, a := ask(state, fmt.Sprintf(`{"data":%d,"ifOffset":%d}`, writer, version))
				switch {
				case status == http.StatusOK && a.Offset == version+1:
					mu.Lock()
					won[version] = append(won[version], writer)
					mu.Unlock()
					version++
				case status == http.StatusPreconditionFailed && a.Offset > version:
					version = a.Offset
				default:
					t.Errorf("version %d: %d %+v", version, status, a)
					return
				}
			}
		})
	}
	all.Wait()
	for version, winners := range won {
		if len(winners) != 1 {
			t.Errorf("version %d was written by %v, want one", version+1, winners)
		}
	}
	if n := used(); n != versions {
		t.Errorf("%d messages are counted, want %d", n, versions)
	}
}

// One publish is repeated a thousand times at once, alone and among many, also in a channel
// that remembers: it is one message.
func TestRacingRepetitions(t *testing.T) {
	for name, channel := range map[string]string{"a channel that remembers": "devices/a/log", "another": "devices/a"} {
		t.Run(name, func(t *testing.T) {
			ask, used := realDoor(t)
			single := "/v1/channels/" + channel + "/publish"
			const body = `"data":{"n":1},"idempotencyKey":"once"`
			type seen struct {
				offset, subscribers int
				epoch               string
			}
			var mu sync.Mutex
			answers := map[seen]int{}
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					for range 20 {
						target, sent := single, `{`+body+`}`
						if i%5 == 0 {
							target, sent = manyPath, messagesOf(`{"channel":"`+channel+`",`+body+`}`)
						}
						status, a := ask(target, sent)
						if status != 200 || a.Error != "" {
							t.Errorf("%d %+v", status, a)
						}
						if target == single {
							mu.Lock()
							answers[seen{a.Offset, a.Subscribers, a.Epoch}]++
							mu.Unlock()
						}
					}
				})
			}
			all.Wait()
			if len(answers) != 1 {
				t.Errorf("the answers differ: %v", answers)
			}
			if n := used(); n != 1 {
				t.Errorf("%d messages are counted, want 1", n)
			}
			if status, a := ask(single, `{"data":{"n":2},"idempotencyKey":"once"}`); status != 409 || a.Error != "idempotency_conflict" {
				t.Errorf("another body: %d %+v", status, a)
			}
			if status, a := ask(single, `{"data":{"n":2},"idempotencyKey":"twice"}`); status != 200 || channel == "devices/a/log" && a.Offset != 2 {
				t.Errorf("another key: %d %+v", status, a)
			}
		})
	}
}
