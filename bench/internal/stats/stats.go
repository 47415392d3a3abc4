// Package stats boils repeated measurements down: a median with the range it
// lies in, never a mean, for one noisy run must not move the result.
package stats

import (
	"math"
	"slices"
	"time"
)

// Summary is what is reported of a figure's repetitions.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Summarize of no values is all NaN.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{math.NaN(), math.NaN(), math.NaN()}
	}
	s := slices.Sorted(slices.Values(values))
	middle := len(s) / 2
	median := s[middle]
	if len(s)%2 == 0 {
		median = (s[middle-1] + s[middle]) / 2
	}
	return Summary{median, s[0], s[len(s)-1]}
}

// Percentile is the smallest of the sorted times that p percent of them do not
// exceed (nearest rank); 0 if there are none.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
