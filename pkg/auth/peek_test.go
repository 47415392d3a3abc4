package auth

import (
	"strings"
	"testing"
)

func TestClaimedKeyID(t *testing.T) {
	for _, tt := range []struct{ name, token, want string }{
		{"a good token", signed(""), "sk_a"},
		{"by nobody", segment(`{"alg":"none","kid":"sk_x"}`) + "..", "sk_x"},
		{"a header alone", segment(`{"kid":"sk_\u0061"}`), "sk_a"},
		{"no kid", segment(`{"alg":"HS256"}`) + ".x.y", ""},
		{"kid a number", segment(`{"kid":7}`) + ".x.y", ""},
		{"header not whole", segment(`{"kid":"sk_a"`) + ".x.y", ""},
		{"not base64", "{}.x.y", ""},
		{"nothing", "", ""},
		{"32 KiB", segment(`{"kid":"sk_a"}`) + "." + strings.Repeat("a", MaxTokenBytes-len(segment(`{"kid":"sk_a"}`))-1), "sk_a"},
		{"32 KiB and 1", segment(`{"kid":"sk_a"}`) + "." + strings.Repeat("a", MaxTokenBytes-len(segment(`{"kid":"sk_a"}`))), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ClaimedKeyID(tt.token); got != tt.want {
				t.Errorf("ClaimedKeyID = %q, want %q", got, tt.want)
			}
		})
	}
}

// It is asked of everybody who connects, before anything holds them back.
func TestClaimedKeyIDIsCheap(t *testing.T) {
	token := signed(`,"channels":["devices/cam-1/*"],"metadata":` + object(8000))
	if n := testing.AllocsPerRun(100, func() { ClaimedKeyID(token) }); n > 10 {
		t.Errorf("%v allocations, want no more than the header takes", n)
	}
}
