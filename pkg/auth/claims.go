package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// claims is a token's payload (protocol §3). The JWT library decodes only
// the raw bytes: it does so before it has checked the signature, and an
// unsigned claim is not worth a look. read fills the rest afterwards.
//
// The library's own checks are off: it knows one leeway for all times, and its
// times can overflow. So the claims that it gets to see, by the embedded type's
// methods, are none.
type claims struct {
	jwt.MapClaims
	raw []byte

	peer         string
	patterns     []*channel.Pattern // nil: absent
	actions      *apps.Actions      // nil: absent
	expiresAt    time.Time
	notBefore    time.Time // zero: absent
	issuedAt     time.Time // zero: absent
	metadata     []byte
	peerMetadata []byte
}

// UnmarshalJSON keeps the payload as it came.
func (c *claims) UnmarshalJSON(payload []byte) error {
	c.raw = append(c.raw[:0], payload...)
	return nil
}

// claimReaders reads each claim that means something here; others are ignored,
// of any type. The errors go after "claim <name> ".
var claimReaders = map[string]func(c *claims, value []byte) error{
	"sub":          (*claims).readPeer,
	"exp":          func(c *claims, v []byte) (err error) { c.expiresAt, err = readTime(v); return err },
	"nbf":          func(c *claims, v []byte) (err error) { c.notBefore, err = readTime(v); return err },
	"iat":          func(c *claims, v []byte) (err error) { c.issuedAt, err = readTime(v); return err },
	"channels":     (*claims).readChannels,
	"permissions":  (*claims).readPermissions,
	"metadata":     readObject(func(c *claims) *[]byte { return &c.metadata }, protocol.MaxMetadataBytes),
	"peerMetadata": readObject(func(c *claims) *[]byte { return &c.peerMetadata }, protocol.MaxPeerMetadataBytes),
}

// claimError is a claim's fault, told to the token's maker.
type claimError struct{ text string }

func (e claimError) Error() string { return e.text }

// read checks the payload's form, not its times or its scope. A claim given
// twice is refused (RFC 7519 §4): another reader of the same token could go by
// the other one.
func (c *claims) read() error {
	seen := make(map[string]bool, len(claimReaders))
	err := protocol.ScanObject(c.raw, func(name string, value []byte) error {
		read, known := claimReaders[name]
		if !known {
			return nil
		}
		if seen[name] {
			return claimError{"claim " + name + " is given more than once"}
		}
		seen[name] = true
		if err := read(c, value); err != nil {
			return claimError{"claim " + name + " " + err.Error()}
		}
		return nil
	})
	var fault claimError
	switch {
	case errors.As(err, &fault):
		return fault
	case err != nil:
		return claimError{"the token's payload is not one JSON object in valid UTF-8, of at most 128 levels"}
	case !seen["sub"]:
		return claimError{"claim sub is missing: the peer's id is required"}
	case !seen["exp"]:
		return claimError{"claim exp is missing: unix seconds are required"}
	}
	return nil
}

func (c *claims) readPeer(value []byte) error {
	peer, err := protocol.DecodeString(value)
	if err != nil || !protocol.ValidPeerID(peer) {
		return fmt.Errorf("must be a string of 1–%d printable ASCII characters", protocol.MaxPeerIDBytes)
	}
	if protocol.IsReservedPeerID(peer) {
		return fmt.Errorf("is reserved for the service, as are %s; choose another peer id", protocol.ReservedPeerIDs)
	}
	c.peer = peer
	return nil
}

func (c *claims) readChannels(value []byte) error {
	list, err := readStrings(value, protocol.MaxTokenChannels)
	if err != nil {
		return err
	}
	c.patterns = make([]*channel.Pattern, len(list))
	for i, text := range list {
		if c.patterns[i], err = channel.Compile(text); err != nil {
			return fmt.Errorf("has an invalid pattern at [%d]: %w", i, err)
		}
	}
	return nil
}

func (c *claims) readPermissions(value []byte) error {
	list, err := readStrings(value, protocol.MaxTokenPermissions)
	if err != nil {
		return err
	}
	c.actions = new(apps.Actions)
	for _, text := range list {
		// An action this version does not know gives nothing, and harms nothing.
		if action, known := apps.ParseAction(text); known {
			c.actions.Add(action)
		}
	}
	return nil
}

func readObject(into func(*claims) *[]byte, limit int) func(*claims, []byte) error {
	return func(c *claims, value []byte) (err error) {
		*into(c), err = CompactObject(value, limit)
		return err
	}
}

// readStrings reads an array of at most limit strings. null is not an array:
// were it taken for "absent", it would widen the token to all its key may do.
func readStrings(value []byte, limit int) ([]string, error) {
	var items []json.RawMessage
	if value[0] != '[' || json.Unmarshal(value, &items) != nil {
		return nil, fmt.Errorf("must be an array of strings, got %s", protocol.Kind(value))
	}
	if len(items) > limit {
		return nil, fmt.Errorf("has %d entries; at most %d are allowed", len(items), limit)
	}
	list := make([]string, len(items))
	for i, item := range items {
		text, err := protocol.DecodeString(item)
		if errors.Is(err, protocol.ErrHalfCharacter) {
			return nil, fmt.Errorf("has half a character (an escape such as \\ud800) at [%d]", i)
		}
		if err != nil {
			return nil, fmt.Errorf("must be an array of strings, got %s at [%d]", protocol.Kind(item), i)
		}
		list[i] = text
	}
	return list, nil
}

// endOfTime is the start of the year 10000, in unix seconds: later times
// cannot be written in RFC 3339, and the largest overflow time.Time.
const endOfTime = 253402300800

// readTime reads a NumericDate (RFC 7519 §2), fractions included. A time
// before 1970 is as good as 1970.
func readTime(value []byte) (time.Time, error) {
	if value[0] != '-' && (value[0] < '0' || value[0] > '9') {
		return time.Time{}, fmt.Errorf("must be a number of unix seconds, got %s", protocol.Kind(value))
	}
	// Out of range, the result is ±Inf, which the comparisons below sort out.
	seconds, _ := strconv.ParseFloat(string(value), 64)
	switch {
	case seconds >= endOfTime:
		return time.Time{}, errors.New("lies beyond the year 9999: unix seconds are wanted, not milliseconds")
	case seconds <= 0:
		return time.Unix(0, 0), nil
	}
	// Whole seconds are exact in a float64 far beyond endOfTime.
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}
