package cmd

import (
	"fmt"
	"testing"
)

func TestGrown(t *testing.T) {
	peer := func(name string, published int64) cost {
		return cost{Peer: name, Published: published, Bytes: 10 * published}
	}
	full := make([]cost, 0, mostCosts)
	for i := range int64(mostCosts) {
		full = append(full, peer(fmt.Sprint("p", i), 1000-i))
	}
	for _, tt := range []struct {
		name        string
		before, now []cost
		want        string
	}{
		{"the most first", []cost{peer("a", 9), peer("b", 5)}, []cost{peer("a", 10), peer("b", 8), peer("c", 2)}, "[{ b 3 30} { c 2 20} { a 1 10}]"},
		{"nobody has sent", []cost{peer("a", 9)}, []cost{peer("a", 9)}, "[]"},
		{"a new month", []cost{peer("a", 9)}, []cost{peer("a", 2)}, "[{ a 2 20}]"},
		{"it comes into a full list with what it has sent in the month", full, append([]cost{peer("new", 2000)}, peer("p0", 1001)), "[{ p0 1 10}]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprint(grown(tt.before, tt.now)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
