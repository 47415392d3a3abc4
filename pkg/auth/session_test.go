package auth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/apps"
)

const sessionHeader = `{"alg":"HS256","kid":"sk_a","typ":"fleetwire-console+jwt"}`

// withSession is the header of a request with the session in its cookie, among others.
func withSession(session string) http.Header {
	return http.Header{"Cookie": {"theme=dark; " + SessionCookie + "=" + session + "; other=1"}}
}

func mintSession(t testing.TB, keyID string) string {
	t.Helper()
	session, err := MintSession(keyNamed(t, keyID), now)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// signedAsSession is a JWT by the secret that signs the sessions of sk_a.
func signedAsSession(t testing.TB, header, payload string) string {
	t.Helper()
	return hs256(header, payload, string(sessionSecret(keyNamed(t, "sk_a"))))
}

func TestSession(t *testing.T) {
	session := mintSession(t, "sk_a")
	for _, after := range []time.Duration{0, time.Hour, SessionLife - time.Second} {
		s, ok := VerifySession(directory(t), withSession(session), now.Add(after))
		if !ok || s.Key.ID != "sk_a" || s.Key.App.ID != "app_a" || !s.ExpiresAt.Equal(now.Add(SessionLife)) || len(s.ID) < 26 {
			t.Errorf("after %v: %v %v", after, s, ok)
		}
	}
	if _, ok := VerifySession(directory(t), withSession(session), now.Add(SessionLife)); ok {
		t.Error("a session is longer than its life")
	}
	if strings.Contains(session, secretA) {
		t.Error("the cookie has the secret in it")
	}
}

// HOSTILE: a session that was stolen ends with the key's secret, and with the key.
func TestSessionOfARotatedKey(t *testing.T) {
	session := mintSession(t, "sk_a")
	for name, keys := range map[string]string{
		"another secret":            `{"id":"sk_a","secret":"` + secretB + `","channelPatterns":["**"],"actions":[]}`,
		"no such key":               `{"id":"sk_c","secret":"` + secretA + `","channelPatterns":["**"],"actions":[]}`,
		"another key with that one": `{"id":"sk_narrow","secret":"` + secretA + `","channelPatterns":["**"],"actions":[]}`,
	} {
		dir, err := apps.Parse([]byte(`{"apps":[{"id":"app_a","keys":[` + keys + `]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := VerifySession(dir, withSession(session), now); ok || s.Key != nil {
			t.Errorf("%s: the session is still good for %v", name, s.Key)
		}
	}
}

// HOSTILE: cookies that are no session. Backends sign tokens with the same secret, and may put
// anything into them that a device has told them.
func TestHostileSessions(t *testing.T) {
	good := mintSession(t, "sk_a")
	const claims = `{"aud":["fleetwire/console"],"exp":1767229200,"iat":1767225600,"jti":"x"}`
	parts := strings.Split(good, ".")
	token, _, err := Mint(keyNamed(t, "sk_a"), TokenRequest{Peer: "device-1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := VerifySession(directory(t), withSession(signedAsSession(t, sessionHeader, claims)), now); !ok {
		t.Fatal("the tests sign sessions otherwise than MintSession")
	}
	for name, session := range map[string]string{
		"nothing":                              "",
		"garbage":                              "garbage",
		"the credential itself":                "sk_a_secret_" + secretA,
		"a token of a device":                  token,
		"a token with all claims of a session": hs256(goodHeader, claims, secretA),
		"a session signed as tokens are":       hs256(sessionHeader, claims, secretA),
		"a token signed as sessions are":       signedAsSession(t, goodHeader, claims),
		"no typ":                               signedAsSession(t, `{"alg":"HS256","kid":"sk_a"}`, claims),
		"alg none":                             segment(`{"alg":"none","kid":"sk_a","typ":"fleetwire-console+jwt"}`) + "." + parts[1] + ".",
		"unsigned":                             parts[0] + "." + parts[1] + ".",
		"another key's id":                     signedAsSession(t, `{"alg":"HS256","kid":"sk_b","typ":"fleetwire-console+jwt"}`, claims),
		"a publishable key":                    signedAsSession(t, `{"alg":"HS256","kid":"pk_a","typ":"fleetwire-console+jwt"}`, claims),
		"a publishable key, which has no secret": hs256(`{"alg":"HS256","kid":"pk_a","typ":"fleetwire-console+jwt"}`, claims,
			string(sessionSecret(keyNamed(t, "pk_a")))),
		"no key":           signedAsSession(t, `{"alg":"HS256","typ":"fleetwire-console+jwt"}`, claims),
		"a key id of null": signedAsSession(t, `{"alg":"HS256","kid":null,"typ":"fleetwire-console+jwt"}`, claims),
		"no audience":      signedAsSession(t, sessionHeader, `{"exp":1767229200,"jti":"x"}`),
		"another audience": signedAsSession(t, sessionHeader, `{"aud":["fleetwire"],"exp":1767229200,"jti":"x"}`),
		"no end":           signedAsSession(t, sessionHeader, `{"aud":["fleetwire/console"],"jti":"x"}`),
		"an end of null":   signedAsSession(t, sessionHeader, `{"aud":["fleetwire/console"],"exp":null,"jti":"x"}`),
		"ended":            signedAsSession(t, sessionHeader, `{"aud":["fleetwire/console"],"exp":1767225600,"jti":"x"}`),
		"no id":            signedAsSession(t, sessionHeader, `{"aud":["fleetwire/console"],"exp":1767229200}`),
		"not JSON":         signedAsSession(t, sessionHeader, `x`),
		"a byte more":      good + "A",
		"very long":        strings.Repeat("a", 1<<20),
	} {
		if s, ok := VerifySession(directory(t), withSession(session), now); ok || s.Key != nil {
			t.Errorf("%s is a session of %v", name, s.Key)
		}
	}
	for name, header := range map[string]http.Header{
		"no cookie":                {},
		"two cookies":              {"Cookie": {SessionCookie + "=" + good + "; " + SessionCookie + "=" + good}},
		"two lines of cookies":     {"Cookie": {SessionCookie + "=" + good, SessionCookie + "=x"}},
		"a cookie of another name": {"Cookie": {"fleetwire=" + good}},
		"in another header":        {"Authorization": {"Bearer " + good}},
	} {
		if _, ok := VerifySession(directory(t), header, now); ok {
			t.Errorf("%s: signed in", name)
		}
	}
}

// HOSTILE: a session is no credential elsewhere: a device cannot connect with it, nor a backend.
func TestASessionIsNoOtherCredential(t *testing.T) {
	session := mintSession(t, "sk_a")
	if grant, _ := VerifyToken(directory(t), session, now); grant != nil {
		t.Error("a device connects with a session")
	}
	if grant, _ := VerifyToken(directory(t), signedAsSession(t, goodHeader, goodPayload), now); grant != nil {
		t.Error("a device connects with a token signed as sessions are")
	}
	if _, refused := Authenticate(directory(t), "Bearer "+session); refused == nil {
		t.Error("a backend authenticates with a session")
	}
}

// HOSTILE: any cookie.
func FuzzVerifySession(f *testing.F) {
	good := mintSession(f, "sk_a")
	for _, seed := range []string{good, SessionCookie + "=" + good, "a.b.c", `"` + good + `"`} {
		f.Add(seed)
	}
	dir := directory(f)
	f.Fuzz(func(t *testing.T, cookie string) {
		s, ok := VerifySession(dir, withSession(cookie), now)
		if ok && (s.Key == nil || s.Key.Publishable() || !strings.Contains(cookie, good)) {
			t.Errorf("%q is a session of %v", cookie, s.Key)
		}
	})
}
