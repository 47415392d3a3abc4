package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"fleetwire/clients/go/protocol"
)

func asError(err error) *Error {
	refused, _ := errors.AsType[*Error](err)
	return refused
}

// A publish whose answer is lost is sent again with the same key, so that it is published
// once; the next one has another.
func TestPublishIsSentAgain(t *testing.T) {
	for name, call := range map[string]func(*testing.T, *REST) error{
		"Publish": func(t *testing.T, r *REST) error {
			_, err := r.Publish(t.Context(), "c", 1)
			return err
		},
		"PublishMessage": func(t *testing.T, r *REST) error {
			_, err := r.PublishMessage(t.Context(), Outgoing{Channel: "c", Data: 1})
			return err
		},
		"PublishMany": func(t *testing.T, r *REST) error {
			results, err := r.PublishMany(t.Context(), []Outgoing{{Channel: "c", Data: 1}})
			if err == nil {
				err = results[0].Err
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var keys []any
				backend := answered(t, func(n int, _ string, asked map[string]any) (*http.Response, error) {
					if many, ok := asked["messages"].([]any); ok {
						asked = many[0].(map[string]any)
					}
					keys = append(keys, asked["idempotencyKey"])
					switch n {
					case 1:
						return nil, io.ErrUnexpectedEOF
					case 2:
						return says(http.StatusServiceUnavailable, `{"error":"backend_error","outcome":"unknown"}`)
					}
					return says(http.StatusOK, `{"channel":"c","subscribers":1,"results":[{"channel":"c","subscribers":1}]}`)
				})
				if err := call(t, backend); err != nil || len(keys) != 3 || keys[0] != keys[1] || keys[1] != keys[2] || len(fmt.Sprint(keys[0])) < 22 {
					t.Fatalf("%v after requests with the keys %v", err, keys)
				}
				if err := call(t, backend); err != nil || keys[3] == keys[0] {
					t.Errorf("%v after requests with the keys %v", err, keys)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // the service's word counts, and there is an end
		n := 0
		final := answered(t, func(int, string, map[string]any) (*http.Response, error) {
			n++
			return says(http.StatusTooManyRequests, `{"error":"over_message_quota"}`)
		})
		if _, err := final.Publish(t.Context(), "c", 1); CodeOf(err) != protocol.OverMessageQuota || n != 1 {
			t.Errorf("%v after %d requests", err, n)
		}
		n = 0
		away := answered(t, func(int, string, map[string]any) (*http.Response, error) {
			n++
			return says(http.StatusServiceUnavailable, `{"error":"backend_error","outcome":"none"}`)
		})
		if _, err := away.Publish(t.Context(), "c", 1); CodeOf(err) != protocol.BackendError || n != createTries {
			t.Errorf("%v after %d requests", err, n)
		}
	})
}

func TestOutgoingBodies(t *testing.T) {
	var sent map[string]any
	backend := answered(t, func(_ int, _ string, asked map[string]any) (*http.Response, error) {
		sent = asked
		return says(http.StatusOK, `{"channel":"c","subscribers":2,"epoch":"a","offset":5}`)
	})
	p, err := backend.PublishMessage(t.Context(), Outgoing{Channel: "c", Data: json.RawMessage(`{"n":1}`), From: "f", Metadata: map[string]int{"m": 1}, IdempotencyKey: "k", If: at("a", 4)})
	if err != nil || p != (Published{2, *at("a", 5)}) {
		t.Errorf("%+v, %v", p, err)
	}
	if got := fmt.Sprint(sent); got != "map[data:map[n:1] from:f idempotencyKey:k ifEpoch:a ifOffset:4 peerMetadata:map[m:1]]" {
		t.Errorf("sent %s", got)
	}
	for name, m := range map[string]Outgoing{"no epoch": {Channel: "c", If: &Position{Offset: 1}}, "no channel": {}, "no JSON": {Channel: "c", Data: func() {}}} {
		if _, err := backend.PublishMessage(t.Context(), m); err == nil {
			t.Errorf("%s was taken", name)
		}
		if _, err := backend.PublishMany(t.Context(), []Outgoing{m}); err == nil {
			t.Errorf("%s was taken among many", name)
		}
	}
	for _, n := range []int{0, 101} {
		if _, err := backend.PublishMany(t.Context(), make([]Outgoing, n)); err == nil {
			t.Errorf("%d messages were taken", n)
		}
	}
}

func TestMismatchesAndManyResults(t *testing.T) {
	const mismatch = `{"error":"offset_mismatch","message":"no","epoch":"a","offset":7,"newest":{"offset":7,"at":1767222000123,"from":"x","data":{ "v": 7 }}}`
	backend := answered(t, func(_ int, _ string, asked map[string]any) (*http.Response, error) {
		if asked["messages"] == nil {
			return says(http.StatusPreconditionFailed, mismatch)
		}
		return says(http.StatusOK, `{"results":[{"channel":"c","subscribers":1,"epoch":"a","offset":8},{"error":"offset_mismatch","message":"no","epoch":"a","offset":7},{"error":"backend_error","message":"?","outcome":"unknown"}]}`)
	})
	_, err := backend.PublishMessage(t.Context(), Outgoing{Channel: "c", Data: 1, If: at("a", 6)})
	refused := asError(err)
	if refused == nil || refused.Code != protocol.OffsetMismatch || refused.Status != 412 || *refused.Position != *at("a", 7) {
		t.Fatalf("%+v", err)
	}
	if m := refused.Newest; m == nil || string(m.Data) != `{ "v": 7 }` || m.From != "x" || m.Position != *at("a", 7) || m.At.UnixMilli() != 1767222000123 {
		t.Errorf("%+v", m)
	}
	results, err := backend.PublishMany(t.Context(), make3("c"))
	if err != nil || len(results) != 3 || results[0].Err != nil || results[0].Position != *at("a", 8) || results[0].Subscribers != 1 {
		t.Fatalf("%+v %v", results, err)
	}
	if e := asError(results[1].Err); e == nil || e.Code != protocol.OffsetMismatch || *e.Position != *at("a", 7) {
		t.Errorf("%v", results[1].Err)
	}
	if e := asError(results[2].Err); e == nil || e.Outcome != protocol.OutcomeUnknown || e.Position != nil {
		t.Errorf("%v", results[2].Err)
	}
	if _, err := backend.PublishMany(t.Context(), make3("c")[:2]); err == nil {
		t.Error("three results for two messages were taken")
	}
}

func make3(channel string) []Outgoing {
	return []Outgoing{{Channel: channel}, {Channel: channel}, {Channel: channel}}
}

// A history is read page after page, up to what was newest when it began.
func TestHistoryReadsAllPages(t *testing.T) {
	message := func(offset int) string {
		return fmt.Sprintf(`{"offset":%d,"at":1,"from":"x","data":%d}`, offset, offset)
	}
	pages := map[string]string{
		"last=4":    `{"epoch":"a","offset":5,"messages":[` + message(2) + `,` + message(3) + `]}`,
		"since=a:3": `{"epoch":"a","offset":6,"recovered":true,"messages":[` + message(4) + `,` + message(5) + `]}`,
		"since=a:5": `{"epoch":"a","offset":6,"recovered":true,"messages":[` + message(6) + `]}`,
		"since=a:0": `{"epoch":"a","offset":5,"recovered":true,"messages":[` + message(1) + `]}`,
		"since=a:1": `{"epoch":"a","offset":6,"recovered":false,"messages":[` + message(5) + `]}`,
		"since=b:9": `{"epoch":"a","offset":7,"recovered":false,"messages":[]}`,
	}
	backend := answered(t, func(_ int, method string, asked map[string]any) (*http.Response, error) {
		if method == http.MethodDelete {
			return says(http.StatusOK, `{"channel":"c"}`)
		}
		for name, value := range asked {
			if page := pages[fmt.Sprintf("%s=%s", name, value)]; page != "" && len(asked) == 1 {
				return says(http.StatusOK, page)
			}
		}
		t.Errorf("asked for %v", asked)
		return says(http.StatusBadRequest, `{"error":"invalid_request"}`)
	})
	text := func(h History, err error) string {
		if err != nil {
			return err.Error()
		}
		var b strings.Builder
		for _, m := range h.Messages {
			fmt.Fprintf(&b, "%s@%s:%d ", m.Data, m.Position.Epoch, m.Position.Offset)
		}
		return fmt.Sprintf("%sup to %s:%d %v", b.String(), h.Position.Epoch, h.Position.Offset, h.Recovered)
	}
	for want, got := range map[string]string{
		"2@a:2 3@a:3 4@a:4 5@a:5 up to a:5 false": text(backend.History(t.Context(), "c", 4)),
		"6@a:6 up to a:6 true":                    text(backend.HistorySince(t.Context(), "c", *at("a", 5))),
		"1@a:1 5@a:5 up to a:5 false":             text(backend.HistorySince(t.Context(), "c", *at("a", 0))), // forgotten meanwhile
		"up to a:7 false":                         text(backend.HistorySince(t.Context(), "c", *at("b", 9))),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if err := backend.Forget(t.Context(), "c"); err != nil {
		t.Error(err)
	}
	for _, n := range []int{0, 1001} {
		if _, err := backend.History(t.Context(), "c", n); err == nil {
			t.Errorf("the last %d were asked for", n)
		}
	}
	if err := backend.Forget(t.Context(), "c/*"); CodeOf(err) != protocol.InvalidChannel {
		t.Error(err)
	}
}
