package idempotency

import "testing"

// No two requests that differ have the same fingerprint, wherever one field ends.
func TestFingerprintsTellRequestsApart(t *testing.T) {
	seen := map[string][]string{}
	for _, fields := range [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"1:a"}, {"a1:b"}, {"a", "1:b"}, {"a\x00b"}} {
		print := Fingerprint(fields...)
		if other, taken := seen[print]; taken {
			t.Errorf("%q and %q have the same", fields, other)
		}
		seen[print] = fields
		if len(print) != 32 || print != Fingerprint(fields...) {
			t.Errorf("%q: %s", fields, print)
		}
	}
	if ID("a", "bc") == ID("ab", "c") || len(ID("a", "b")) != 64 {
		t.Error("channel and key are not told apart")
	}
}
