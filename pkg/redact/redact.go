// Package redact shows values in error messages without telling a secret that
// stand in the wrong place: a key in a field's name, a password as an
// argument. A value longer than MaxShown bytes is never shown whole.
package redact

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxShown is the longest value that is shown whole. A secret has 32 bytes and
	// more.
	MaxShown = 12
	// shownOfLonger is how much of a longer one is shown, for its writer to
	// recognize it.
	shownOfLonger = 6
)

// Value quotes s, or as much of it as may be shown, with its length:
// "sk_liv…" (72 bytes).
func Value(s string) string {
	if len(s) <= MaxShown {
		return strconv.Quote(s)
	}
	return fmt.Sprintf("%q (%d bytes)", cut(s)+"…", len(s))
}

// Name is a flag's or a variable's name as it was written: FLEETWIRE_TRUSTED_PROXY.
// One that does not look like a name, because a word of it is long or it has a
// digit, is cut as Value cuts.
func Name(s string) string {
	looksLikeOne := !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '-' || r == '_' }) {
		looksLikeOne = looksLikeOne && len(word) <= MaxShown
	}
	if !looksLikeOne {
		return Value(s)
	}
	return s
}

// Place quotes a path, a host or an address. These consist of short words with
// '/', '.' or ':' between them, and an operator needs them whole to see what is
// wrong; a word longer than MaxShown is cut: "/etc/fleetw…/apps.json".
func Place(s string) string {
	var shown strings.Builder
	for len(s) > 0 {
		end := strings.IndexAny(s, "/.:")
		if end < 0 {
			end = len(s)
		}
		if word := s[:end]; len(word) > MaxShown {
			shown.WriteString(cut(word) + "…")
		} else {
			shown.WriteString(word)
		}
		if end < len(s) {
			shown.WriteByte(s[end])
			end++
		}
		s = s[end:]
	}
	return strconv.Quote(shown.String())
}

// cut is the beginning of s, without half a character at its end.
func cut(s string) string {
	end := shownOfLonger
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
