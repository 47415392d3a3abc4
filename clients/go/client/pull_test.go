package client

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// Pull asks as often as its time needs, and a request of it waits no longer than an HTTP
// client lets it.
func TestPullWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []any
		backend := answered(t, func(n int, method string, asked map[string]any) (*http.Response, error) {
			waits = append(waits, asked["waitMs"])
			time.Sleep(time.Duration(asked["waitMs"].(float64)) * time.Millisecond)
			return says(http.StatusOK, `{"messages":[]}`)
		})
		events, err := backend.Pull(t.Context(), "ingest", PullOptions{Wait: 25 * time.Second})
		if err != nil || len(events) != 0 {
			t.Errorf("%v, %v", events, err)
		}
		if want := []any{10000., 10000., 5000., 0.}; !reflect.DeepEqual(waits, want) {
			t.Errorf("the requests waited for %v ms, want %v", waits, want)
		}
	})
}

func TestPull(t *testing.T) {
	for name, tt := range map[string]struct {
		opt  PullOptions
		asks map[string]any
	}{
		"the service's own": {PullOptions{}, map[string]any{"waitMs": 0.}},
		"all":               {PullOptions{Max: 5, MaxBytes: 65536, Wait: time.Second, Consumer: "one"}, map[string]any{"max": 5., "maxBytes": 65536., "waitMs": 1000., "consumer": "one"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend := answered(t, func(_ int, _ string, asked map[string]any) (*http.Response, error) {
					if !reflect.DeepEqual(asked, tt.asks) {
						t.Errorf("it asks for %v, want %v", asked, tt.asks)
					}
					return says(http.StatusOK, `{"messages":[{"ackId":"a","channel":"devices/a","from":"cam","fromMetadata":{"n":1},"data":1.0,"publishedAt":1767222000123,"attempt":2},{"ackId":"b","channel":"devices/b","from":"server","data":null,"publishedAt":1767222000124,"attempt":1}]}`)
				})
				events, err := backend.Pull(t.Context(), "a/b", tt.opt)
				want := []Event{
					{Channel: "devices/a", From: "cam", Data: []byte("1.0"), SenderMetadata: []byte(`{"n":1}`), PublishedAt: time.UnixMilli(1767222000123), Attempt: 2, AckID: "a"},
					{Channel: "devices/b", From: "server", Data: []byte("null"), PublishedAt: time.UnixMilli(1767222000124), Attempt: 1, AckID: "b"},
				}
				if err != nil || !reflect.DeepEqual(events, want) {
					t.Errorf("got %+v, %v", events, err)
				}
			})
		})
	}
}

// An acknowledgement whose answer is lost is sent again: to repeat it is safe.
func TestAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := answered(t, func(n int, _ string, asked map[string]any) (*http.Response, error) {
			if got, want := fmt.Sprint(asked), `map[ackIds:[a b] nack:[map[ackId:c delayMs:1500]]]`; got != want {
				t.Errorf("it asks for %s, want %s", got, want)
			}
			if n == 1 {
				return nil, io.ErrUnexpectedEOF
			}
			return says(http.StatusOK, `{"results":[{"ackId":"a","result":"ok"},{"ackId":"b","result":"lease_lost"},{"ackId":"c","result":"lease_lost"}]}`)
		})
		lost, err := backend.Ack(t.Context(), "ingest", []string{"a", "b"}, Nack{"c", 1500 * time.Millisecond})
		if err != nil || !reflect.DeepEqual(lost, []string{"b", "c"}) {
			t.Errorf("lost %q, %v", lost, err)
		}
	})
}
