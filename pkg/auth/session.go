package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

const (
	// SessionCookie is the name of the cookie that holds a session of the console.
	SessionCookie = "fleetwire_console"
	// SessionLife is how long a session lasts.
	SessionLife = 8 * time.Hour

	sessionType     = "fleetwire-console+jwt" // typ: none that a token may have
	sessionAudience = "fleetwire/console"
	maxSessionBytes = 2 << 10
)

// MintSession makes the cookie of a session that somebody begins with a secret key: a JWT that
// [VerifySession] accepts on every node for SessionLife, or until the key's secret is another.
func MintSession(key *apps.Key, now time.Time) (cookie string, err error) {
	session := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		ID: rand.Text(), Audience: jwt.ClaimStrings{sessionAudience}, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(SessionLife)),
	})
	session.Header["typ"], session.Header["kid"] = sessionType, key.ID
	return session.SignedString(sessionSecret(key))
}

// Session is a session of the console.
type Session struct {
	ID        string
	Key       *apps.Key // with which it was begun
	ExpiresAt time.Time
}

// VerifySession gives the session in a request's cookie. It is false without a cookie, or with two,
// of which another site may have set one. Whether the session was signed out of, revocation.Sessions
// knows.
func VerifySession(dir *apps.Directory, header http.Header, now time.Time) (s Session, ok bool) {
	cookies := (&http.Request{Header: header}).CookiesNamed(SessionCookie)
	if len(cookies) != 1 || len(cookies[0].Value) > maxSessionBytes {
		return Session{}, false
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithAudience(sessionAudience), jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	var claims jwt.RegisteredClaims
	var key *apps.Key
	_, err := parser.ParseWithClaims(cookies[0].Value, &claims, func(session *jwt.Token) (any, error) {
		kid, _ := session.Header["kid"].(string)
		if key, ok = dir.Key(kid); !ok || key.Publishable() || session.Header["typ"] != sessionType {
			return nil, jwt.ErrTokenUnverifiable
		}
		return sessionSecret(key), nil
	})
	if err != nil || claims.ID == "" {
		return Session{}, false
	}
	return Session{claims.ID, key, claims.ExpiresAt.Time}, true
}

// NoSession is the refusal of a request that needs a session and has none.
func NoSession() *protocol.Error {
	return protocol.Errorf(protocol.Unauthorized, "you are not signed in, or your session has ended; sign in with a secret key")
}

// sessionSecret signs the sessions of a key. It comes from the key's own secret, so that a session
// ends with that, and is another, so that no backend signs a session that means to sign a token.
func sessionSecret(key *apps.Key) []byte {
	mac := hmac.New(sha256.New, []byte(key.Secret))
	mac.Write([]byte("session of the console"))
	return mac.Sum(nil)
}
