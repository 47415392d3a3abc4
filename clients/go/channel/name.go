package channel

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxBytes is the length in bytes that a name or a pattern may have (protocol §2).
const MaxBytes = 256

// reservedPrefixes begin the channels that belong to the service itself (protocol §2).
var reservedPrefixes = [...]string{"_metered/", "_internal/", "_system/"}

// ValidateName returns nil if name is a channel name (protocol §2): 1–256 bytes of valid UTF-8 without
// U+0000–001F and U+007F–009F, no level "." or "..", and no unescaped star. Otherwise the error's text is
// a sentence for the sender of the name. Bytes are counted from 0. Reserved names are
// valid names; see [IsReserved].
func ValidateName(name string) error {
	if err := validate("channel", name); err != nil {
		return err
	}
	if IsPattern(name) {
		return errors.New("channel contains an unescaped *; only subscribe takes patterns")
	}
	return nil
}

// ConnectivityPrefix begins the channels on which the service tells which peers are online (protocol §4.6).
const ConnectivityPrefix = "_system/connectivity/"

// NamesConnectivity reports whether a name or a pattern begins literally with ConnectivityPrefix.
func NamesConnectivity(s string) bool { return strings.HasPrefix(s, ConnectivityPrefix) }

// ConnectivityName is the channel that tells whether a peer is online; "" if the peer's id is so long that there is
// none. All but letters, digits and "-", "_", ".", "~" of the id is percent-encoded, and an id that is "." or "..".
func ConnectivityName(peer string) string {
	var b strings.Builder
	b.WriteString(ConnectivityPrefix)
	for i := range len(peer) {
		c := peer[i]
		if isUnreserved(c) && (c != '.' || peer != "." && peer != "..") {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() > MaxBytes {
		return ""
	}
	return b.String()
}

// ConnectivityPeer undoes ConnectivityName; ok is false for what that never returns.
func ConnectivityPeer(name string) (peer string, ok bool) {
	escaped, ok := strings.CutPrefix(name, ConnectivityPrefix)
	if !ok {
		return "", false
	}
	peer, err := url.PathUnescape(escaped)
	return peer, err == nil && peer != "" && ConnectivityName(peer) == name
}

// isUnreserved goes by RFC 3986 §2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
}

// Reaches reports whether the pattern may match the name though it is reserved (protocol §4.6): no pattern does but one
// that begins literally with ConnectivityPrefix. It is true for every name that is not reserved.
func (p *Pattern) Reaches(name string) bool { return !IsReserved(name) || NamesConnectivity(p.source) }

// IsReserved reports whether a name or a pattern begins with a prefix that only the service may use:
// "_metered/", "_internal/" or "_system/" (protocol §2).
func IsReserved(s string) bool {
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// validate checks what names and patterns have in common; noun is how the error calls s.
func validate(noun, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", noun)
	}
	if len(s) > MaxBytes {
		return fmt.Errorf("%s is %d bytes long; at most %d are allowed", noun, len(s), MaxBytes)
	}
	for i, r := range s {
		if r == utf8.RuneError {
			// U+FFFD itself is three bytes and fine; a broken sequence is read as one byte.
			if _, width := utf8.DecodeRuneInString(s[i:]); width == 1 {
				return fmt.Errorf("%s is not valid UTF-8 at byte %d", noun, i)
			}
		}
		if r < 0x20 || 0x7f <= r && r <= 0x9f {
			return fmt.Errorf("%s contains a control character (U+%04X) at byte %d", noun, r, i)
		}
	}
	for level := range strings.SplitSeq(s, "/") {
		if level == "." || level == ".." {
			return fmt.Errorf("%s has a level %q; levels must not be \".\" or \"..\"", noun, level)
		}
	}
	return nil
}
