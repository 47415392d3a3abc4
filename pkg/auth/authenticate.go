package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// Bearer takes what follows the scheme in an Authorization header's value:
// a secret credential on the REST side, a JWT on the WebSocket side. The
// scheme's case does not matter (RFC 9110 §11.1). It is false for another
// scheme and when nothing follows.
func Bearer(authorization string) (string, bool) {
	scheme, rest, found := strings.Cut(authorization, " ")
	rest = strings.Trim(rest, " \t")
	if !found || rest == "" || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return rest, true
}

// Authenticate finds the secret key of a REST call by its whole Authorization
// header (protocol §1, §5). A missing or malformed header, an unknown key, a
// wrong secret and a publishable key all get one and the same 401, after the
// same work: what is wrong is not told, nor how long it took to find out.
func Authenticate(dir *apps.Directory, authorization string) (*apps.Key, *protocol.Error) {
	bearer, _ := Bearer(authorization)
	credential, given := ParseCredential(bearer)
	key, known := dir.Key(credential.ID)
	usable := given && known && !key.Publishable()

	// An empty expectation stands in where there is no secret to compare with.
	expected := ""
	if usable {
		expected = key.Secret
	}
	// Hashing makes the comparison's time independent of the secret's length.
	want, got := sha256.Sum256([]byte(expected)), sha256.Sum256([]byte(credential.Secret))
	equal := subtle.ConstantTimeCompare(want[:], got[:]) == 1

	if !usable || !equal {
		return nil, &protocol.Error{Code: protocol.Unauthorized, Message: protocol.Unauthorized.Sentence()}
	}
	return key, nil
}
