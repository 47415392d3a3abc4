package stats

import (
	"math"
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64
		want   Summary
	}{
		{"one", []float64{7}, Summary{7, 7, 7}},
		{"odd", []float64{9, 1, 5}, Summary{5, 1, 9}},
		{"even", []float64{4, 1, 2, 100}, Summary{3, 1, 100}},
	} {
		if got := Summarize(tt.values); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	if got := Summarize(nil); !math.IsNaN(got.Median) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, tt := range []struct {
		name   string
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{"nothing", nil, 50, 0},
		{"one", hundred[:1], 99, 1},
		{"median", hundred, 50, 50},
		{"p99", hundred, 99, 99},
		{"all", hundred, 100, 100},
		{"least", hundred, 0, 1},
		{"median of three", hundred[:3], 50, 2},
	} {
		if got := Percentile(tt.sorted, tt.p); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
