package sink_test

import (
	"slices"
	"testing"

	"fleetwire/pkg/sink"
)

func TestKeepOrder(t *testing.T) {
	batch := []sink.Message{{Channel: "a"}, {Channel: "b"}, {Channel: "a"}, {Channel: "b"}, {Channel: "a"}, {Channel: "c"}}
	refused, away := &sink.Refused{Reason: "r"}, &sink.Unavailable{Reason: "u"}
	results := []error{refused, nil, away, nil, nil, nil}
	sink.KeepOrder(batch, results)
	if want := []error{refused, nil, away, nil, away, nil}; !slices.Equal(results, want) {
		t.Errorf("got %v, want %v", results, want)
	}
}
