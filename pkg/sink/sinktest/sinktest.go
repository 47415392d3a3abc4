// Package sinktest has what the tests of the targets of sinks share.
package sinktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fleetwire/pkg/sink"
)

// Messages returns n messages, m0 and so on, in turn of some channels; of devices/1/events if none
// is given. The data of each is its number.
func Messages(n int, channels ...string) []sink.Message {
	if len(channels) == 0 {
		channels = []string{"devices/1/events"}
	}
	var batch []sink.Message
	for i := range n {
		batch = append(batch, sink.Message{ID: fmt.Sprint("m", i), App: "app_demo", Group: "crm", Channel: channels[i%len(channels)], From: "device-1",
			Data: json.RawMessage(fmt.Sprint(i)), PublishedAt: 1767222000123, Attempt: 1})
	}
	return batch
}

// Deliver delivers a batch, and returns the result, which it wants to be the same for all messages.
func Deliver(t testing.TB, target sink.Target, batch []sink.Message) error {
	t.Helper()
	results := target.Deliver(t.Context(), batch)
	if len(results) != len(batch) {
		t.Fatalf("%d results for %d messages", len(results), len(batch))
	}
	for _, r := range results {
		if r != results[0] {
			t.Fatalf("results differ: %v", results)
		}
	}
	return results[0]
}

// Refused wants a *sink.Refused for some reason.
func Refused(t testing.TB, err error, reason string) {
	t.Helper()
	var r *sink.Refused
	if !errors.As(err, &r) || !strings.Contains(r.Reason, reason) {
		t.Errorf("%T %v; want refused, with %q", err, err, reason)
	}
}

// Unavailable wants a *sink.Unavailable for some reason, and returns it.
func Unavailable(t testing.TB, err error, reason string) *sink.Unavailable {
	t.Helper()
	var u *sink.Unavailable
	if !errors.As(err, &u) || !strings.Contains(u.Reason, reason) {
		t.Fatalf("%T %v; want unavailable, with %q", err, err, reason)
	}
	return u
}

// Results is "ok", "refused", "unavailable", or an error of another kind, for each result.
func Results(results []error) string {
	var all []string
	for _, err := range results {
		var refused *sink.Refused
		var away *sink.Unavailable
		switch {
		case err == nil:
			all = append(all, "ok")
		case errors.As(err, &refused):
			all = append(all, "refused")
		case errors.As(err, &away):
			all = append(all, "unavailable")
		default:
			all = append(all, fmt.Sprintf("%T", err))
		}
	}
	return strings.Join(all, " ")
}
