package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/protocol"
)

// transport answers requests in the test's place.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func says(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

const (
	waitingCommand = `{"id":"cmd_1","status":"waiting"}`
	endedCommand   = `{"id":"cmd_1","status":"succeeded"}`
)

// answered gives a backend whose requests answer gets, one after the other, with what
// each asks for: its body, or its query.
func answered(t *testing.T, answer func(n int, method string, asked map[string]any) (*http.Response, error)) *REST {
	n := 0
	return &REST{BaseURL: "http://service", SecretKey: "sk:x", HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		n++
		asked := map[string]any{}
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
				t.Errorf("the body: %v", err)
			}
		}
		for name, values := range r.URL.Query() {
			asked[name] = values[0]
		}
		return answer(n, r.Method, asked)
	})}}
}

// An answer that is lost costs another request with the same idempotency key, but not
// without end. The service's word counts.
func TestCommandIsSentAgain(t *testing.T) {
	lost := func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF }
	for name, tt := range map[string]struct {
		answer func() (*http.Response, error)
		final  bool
	}{
		"the connection breaks": {lost, false},
		"a gateway fails":       {func() (*http.Response, error) { return says(http.StatusBadGateway, "<html>") }, false},
		"Redis is away": {func() (*http.Response, error) {
			return says(http.StatusServiceUnavailable, `{"error":"backend_error"}`)
		}, false},
		"the answer is cut": {func() (*http.Response, error) {
			r, err := says(http.StatusOK, "")
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"id":`), cutReader{}))
			return r, err
		}, false},
		"a key that is not known": {func() (*http.Response, error) { return says(http.StatusUnauthorized, `{"error":"unauthorized"}`) }, true},
		"nobody is there":         {func() (*http.Response, error) { return says(http.StatusConflict, `{"error":"nobody_subscribed"}`) }, true},
		"another program":         {func() (*http.Response, error) { return says(http.StatusOK, "<html>") }, true},
	} {
		for _, losses := range []int{1, createTries - 1, createTries} {
			t.Run(fmt.Sprint(name, " ", losses), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					keys, requests := map[any]bool{}, 0
					backend := answered(t, func(n int, _ string, asked map[string]any) (*http.Response, error) {
						requests = n
						keys[asked["idempotencyKey"]] = true
						if n <= losses {
							return tt.answer()
						}
						return says(http.StatusOK, endedCommand)
					})
					c, err := backend.Command(t.Context(), "c", 1, CommandOptions{})
					want := losses + 1
					if tt.final {
						want = 1
					}
					want = min(want, createTries)
					if (err == nil) != (!tt.final && losses < createTries) || requests != want {
						t.Errorf("%+v, %v, after %d requests; want %d", c, err, requests, want)
					}
					if len(keys) != 1 || keys[nil] || keys[""] {
						t.Errorf("sent with the idempotency keys %v", keys)
					}
				})
			})
		}
	}
}

// cutReader is the end of a connection.
type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Each call has a key of its own, unless the program gives one.
func TestCommandKeys(t *testing.T) {
	var keys []any
	backend := answered(t, func(_ int, _ string, asked map[string]any) (*http.Response, error) {
		keys = append(keys, asked["idempotencyKey"])
		return says(http.StatusOK, endedCommand)
	})
	for _, key := range []string{"", "", "mine"} {
		if _, err := backend.Command(t.Context(), "c", 1, CommandOptions{IdempotencyKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	if len(keys) != 3 || keys[0] == keys[1] || len(fmt.Sprint(keys[0])) < 26 || keys[2] != "mine" {
		t.Errorf("the keys are %v", keys)
	}
}

// Command waits as long as ctx lets it, whatever a request's wait and what comes between.
func TestCommandWaits(t *testing.T) {
	waits := func(ms any) {
		d, err := time.ParseDuration(fmt.Sprint(ms, "ms"))
		if err != nil || d > waitAtOnce {
			t.Errorf("a request asks to wait for %v", ms)
		}
		time.Sleep(d)
	}
	t.Run("beyond the longest wait of a request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			backend := answered(t, func(n int, _ string, asked map[string]any) (*http.Response, error) {
				if time.Since(begin) > 5*time.Minute {
					return says(http.StatusOK, endedCommand)
				}
				waits(asked["waitMs"])
				switch n % 7 {
				case 2:
					return nil, io.ErrUnexpectedEOF
				case 3:
					return says(http.StatusTooManyRequests, `{"error":"rate_limited"}`)
				case 4:
					return says(http.StatusServiceUnavailable, "")
				}
				return says(http.StatusAccepted, waitingCommand)
			})
			c, err := backend.Command(t.Context(), "c", 1, CommandOptions{})
			if err != nil || c.Status != "succeeded" {
				t.Errorf("%+v, %v", c, err)
			}
		})
	})
	t.Run("until ctx ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 33*time.Second)
			defer cancel()
			begin, requests := time.Now(), 0
			backend := answered(t, func(n int, _ string, asked map[string]any) (*http.Response, error) {
				requests = n
				waits(asked["waitMs"])
				return says(http.StatusAccepted, waitingCommand)
			})
			c, err := backend.Command(ctx, "c", 1, CommandOptions{})
			if !errors.Is(err, context.DeadlineExceeded) || c.ID != "cmd_1" || time.Since(begin) != 33*time.Second || requests != 4 {
				t.Errorf("%+v, %v after %v and %d requests", c, err, time.Since(begin), requests)
			}
		})
	})
	t.Run("not without a pause where requests do not wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			requests := 0
			backend := answered(t, func(n int, _ string, _ map[string]any) (*http.Response, error) {
				if requests = n; n == 31 {
					return says(http.StatusOK, endedCommand)
				}
				return says(http.StatusAccepted, waitingCommand)
			})
			begin := time.Now()
			if _, err := backend.Command(t.Context(), "c", 1, CommandOptions{}); err != nil || time.Since(begin) < 29*time.Second {
				t.Errorf("%d requests in %v, %v", requests, time.Since(begin), err)
			}
		})
	})
	t.Run("not for the service's no", func(t *testing.T) {
		backend := answered(t, func(_ int, method string, _ map[string]any) (*http.Response, error) {
			if method == http.MethodPost {
				return says(http.StatusAccepted, waitingCommand)
			}
			return says(http.StatusNotFound, `{"error":"command_not_found"}`)
		})
		c, err := backend.Command(t.Context(), "c", 1, CommandOptions{})
		if wantCode(t, err, protocol.CommandNotFound); c.ID != "cmd_1" {
			t.Errorf("%+v", c)
		}
	})
	t.Run("not between two tries", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			backend := answered(t, func(int, string, map[string]any) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
			_, err := backend.Command(ctx, "c", 1, CommandOptions{})
			if _, why := errors.AsType[*url.Error](err); !errors.Is(err, context.DeadlineExceeded) || !why {
				t.Errorf("%v", err)
			}
		})
	})
}

// A page that is no list of the service's is an error, after the entries of earlier pages.
func TestListsOfOthers(t *testing.T) {
	for _, body := range []string{`{}`, `[]`, `{"peers":1,"cursor":null}`, `{"peers":[{"peerId":1}],"cursor":null}`, `{"peers":[],"cursor":1}`, `{"peers":[{"lastSeenAt":"now"}],"cursor":null}`} {
		backend := answered(t, func(n int, _ string, asked map[string]any) (*http.Response, error) {
			if n == 1 {
				return says(http.StatusOK, `{"peers":[{"peerId":"a","lastSeenAt":5}],"cursor":"x"}`)
			}
			if asked["cursor"] != "x" || asked["prefix"] != "a" {
				t.Errorf("asked %v", asked)
			}
			return says(http.StatusOK, body)
		})
		got := ""
		for p, err := range backend.Peers(t.Context(), PeerQuery{Prefix: "a"}) {
			if got += p.ID; err != nil {
				got += " error"
			}
		}
		if got != "a error" {
			t.Errorf("%s: got %s", body, got)
		}
	}
	backend := answered(t, func(int, string, map[string]any) (*http.Response, error) {
		return says(http.StatusOK, `{"peers":[{"peerId":"a"},{"peerId":"b"}],"cursor":"x"}`)
	})
	for range backend.Peers(t.Context(), PeerQuery{}) {
		break // asks no further
	}
}

func TestTimes(t *testing.T) {
	var times [2]Time
	const text = `[1767222000123,null]`
	if err := json.Unmarshal([]byte(text), &times); err != nil || times[0].UnixMilli() != 1767222000123 || !times[1].IsZero() {
		t.Errorf("%v, %v", times, err)
	}
	if got, err := json.Marshal(times); string(got) != text || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}
