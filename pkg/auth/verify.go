package auth

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// MaxTokenBytes bounds a token; a longer one is refused before it is looked
// at, and is not minted. It holds all that protocol §3 allows: 100 patterns of 256
// bytes, each of which takes up to two in JSON, and metadata and peerMetadata of
// full size, in base64.
const MaxTokenBytes = 96 << 10

// parser leaves the claims to checkTimes and the rest of VerifyToken. Strict
// decoding makes the spelling of a signature unique.
var parser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
	jwt.WithoutClaimsValidation(),
	jwt.WithStrictDecoding(),
)

// VerifyToken checks a token and gives what it grants at the time now
// (protocol §3). The refusals are 4001 (not valid, with the reason), 4002
// (expired: now is at or after exp, without leeway) and 4003 (claims a channel
// its key does not cover). Nothing is said of a claim before the signature is
// known to be good.
func VerifyToken(dir *apps.Directory, token string, now time.Time) (*Grant, *protocol.CloseError) {
	_, grant, refusal := VerifySigned(dir, token, now)
	return grant, refusal
}

// VerifySigned is VerifyToken, and says which key signed the token. It does so also
// with a refusal, if it is not the signature that is wrong.
func VerifySigned(dir *apps.Directory, token string, now time.Time) (signer *apps.Key, grant *Grant, refusal *protocol.CloseError) {
	key, c, refusal := verifySignature(dir, token)
	if refusal != nil {
		return nil, nil, refusal
	}
	grant, refusal = grantOf(key, c, now)
	return key, grant, refusal
}

// grantOf gives what the claims of a token signed by key grant.
func grantOf(key *apps.Key, c *claims, now time.Time) (*Grant, *protocol.CloseError) {
	if err := c.read(); err != nil {
		return nil, invalid(err.Error())
	}
	if refusal := checkTimes(c, now); refusal != nil {
		return nil, refusal
	}
	if refusal := checkLife(c, key.App.Limits.MaxTokenLifeSec); refusal != nil {
		return nil, refusal
	}
	effort := channel.MaxEffort
	for _, p := range c.patterns {
		if !channel.CoveredBy(key.Patterns, p, &effort) {
			if effort.IsExhausted() {
				return nil, invalid("claim channels takes too long to check against the key: use fewer patterns, or fewer wildcards")
			}
			return nil, protocol.Closef(protocol.CloseChannelNotCovered, "the key does not cover %s", p)
		}
	}
	return &Grant{
		App:          key.App,
		Key:          key,
		Peer:         c.peer,
		Patterns:     c.patterns,
		Actions:      within(key.Actions, c.actions),
		claimed:      c.actions,
		ExpiresAt:    c.expiresAt,
		IssuedAt:     c.issuedAt,
		Metadata:     c.metadata,
		PeerMetadata: c.peerMetadata,
	}, nil
}

// within is what the key allows of the claimed actions; nil claims all.
func within(key apps.Actions, claimed *apps.Actions) apps.Actions {
	if claimed == nil {
		return key
	}
	return key & *claimed
}

// verifySignature finds the token's key and checks that it signed the token.
func verifySignature(dir *apps.Directory, token string) (*apps.Key, *claims, *protocol.CloseError) {
	switch {
	case token == "":
		return nil, nil, invalid("no token given")
	case len(token) > MaxTokenBytes:
		return nil, nil, protocol.Closef(protocol.CloseInvalidCredential,
			"the token is %d bytes long; at most %d are allowed", len(token), MaxTokenBytes)
	case strings.ContainsFunc(token, notInToken):
		return nil, nil, invalid("the token is not a JWT: it has characters other than A–Z, a–z, 0–9, '-', '_' and '.'")
	}

	if fault := checkHeader(token); fault != nil {
		return nil, nil, fault
	}
	var key *apps.Key
	var refusal *protocol.CloseError
	c := new(claims)
	parsed, err := parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		if key, refusal = keyOf(dir, t.Header); refusal != nil {
			return nil, refusal
		}
		return []byte(key.Secret), nil
	})
	switch {
	case err == nil:
		return key, c, nil
	case refusal != nil:
		return nil, nil, refusal
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, nil, invalid("the token is not a JWT: three base64url parts, header and payload in JSON, joined by '.'")
	case parsed.Header["alg"] != jwt.SigningMethodHS256.Alg():
		return nil, nil, invalid("the token's header alg must be HS256")
	default:
		return nil, nil, invalid("the token's signature is not by the secret of the key that kid names")
	}
}

// checkHeader refuses a header that another reader may read differently: one that
// is not strict JSON, or that gives a parameter twice (RFC 7515 §4). Anything but a
// header is left to the parser.
func checkHeader(token string) *protocol.CloseError {
	part, _, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || !json.Valid(header) || header[0] != '{' {
		return nil
	}
	given := make(map[string]bool, 4)
	twice := false
	err = protocol.ScanObject(header, func(name string, value []byte) error {
		twice = twice || given[name]
		given[name] = true
		if value[0] == '"' {
			_, err := protocol.DecodeString(value)
			return err
		}
		return nil
	})
	switch {
	case twice:
		return invalid("the token's header gives a parameter more than once")
	case errors.Is(err, protocol.ErrHalfCharacter):
		return invalid("the token's header has half a character in it (an escape such as \\ud800)")
	case err != nil:
		return invalid("the token's header is not one JSON object in valid UTF-8")
	}
	return nil
}

// notInToken is true for what base64url (RFC 4648 §5) and '.' do not use. The
// decoder would skip line breaks, so that one token had many spellings.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// keyOf reads a header whose alg is HS256 and finds the secret key it names.
func keyOf(dir *apps.Directory, header map[string]any) (*apps.Key, *protocol.CloseError) {
	// RFC 7515 §4.1.11: extensions one must understand; we understand none.
	if _, given := header["crit"]; given {
		return nil, invalid("the token's header has crit, which is not supported")
	}
	if typ, given := header["typ"]; given {
		if s, ok := typ.(string); !ok || !strings.EqualFold(s, "JWT") {
			return nil, invalid("the token's header typ must be JWT, or left out")
		}
	}
	kid, ok := header["kid"].(string)
	if !ok || kid == "" {
		return nil, invalid("the token's header must have a kid: the id of the secret key that signed it")
	}
	key, known := dir.Key(kid)
	switch {
	case !known || key.Role == apps.RoleViewer:
		return nil, invalid("the token's kid is unknown or revoked")
	case key.Publishable():
		return nil, invalid("the token's kid is a publishable key, which cannot sign tokens")
	}
	return key, nil
}

// checkTimes holds exp to the letter, and gives iat and nbf the leeway that
// clocks of different machines need (protocol §3).
func checkTimes(c *claims, now time.Time) *protocol.CloseError {
	latest := now.Add(protocol.ClockLeeway)
	switch {
	case !now.Before(c.expiresAt):
		return protocol.Closef(protocol.CloseExpired, "token expired")
	case latest.Before(c.notBefore):
		return invalid("the token is not valid yet: nbf lies more than 60 s ahead of the server's clock")
	case latest.Before(c.issuedAt):
		return invalid("the token is from the future: iat lies more than 60 s ahead of the server's clock")
	}
	return nil
}

// checkLife holds a token to the most seconds that its app lets one live (protocol
// §3); 0: any number. Revocations of the app are kept for no longer than that.
func checkLife(c *claims, most int) *protocol.CloseError {
	switch {
	case most == 0:
		return nil
	case c.issuedAt.IsZero():
		return invalid("the token has no iat: the app limits how long a token lives (maxTokenLifeSec)")
	case c.expiresAt.Sub(c.issuedAt) > time.Duration(most)*time.Second:
		return protocol.Closef(protocol.CloseInvalidCredential,
			"the token lives %d s from iat to exp; its app allows %d (maxTokenLifeSec)", int64(c.expiresAt.Sub(c.issuedAt)/time.Second), most)
	}
	return nil
}

// VerifyPublishable gives what a publishable key grants to a new peer with a
// random id, anon_ and 22 characters of base62 (protocol §4.1). The refusal is
// a 4001, the same for an unknown key and for a secret key's id.
func VerifyPublishable(dir *apps.Directory, keyID string) (*Grant, *protocol.CloseError) {
	key, known := dir.Key(keyID)
	if !known || !key.Publishable() {
		return nil, invalid("the key is unknown or revoked, or not a publishable one (pk_…)")
	}
	return &Grant{App: key.App, Key: key, Peer: "anon_" + randomBase62(22), Actions: key.Actions}, nil
}

// randomBase62 gives n random characters, each equally likely.
func randomBase62(n int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const fair = 256 / len(alphabet) * len(alphabet) // the last few bytes would favour the first few characters
	id := make([]byte, 0, n)
	for random := make([]byte, n); len(id) < n; {
		rand.Read(random) // never fails, as crypto/rand promises
		for _, b := range random {
			if int(b) < fair && len(id) < n {
				id = append(id, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(id)
}

func invalid(reason string) *protocol.CloseError {
	return protocol.Closef(protocol.CloseInvalidCredential, "%s", reason)
}
