package auth

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"hash"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

const goodPayload = `{"sub":"device-1","exp":1767229200}`

const (
	needHS256    = "the token's header alg must be HS256"
	badSignature = "the token's signature is not by the secret of the key that kid names"
	notJWT       = "the token is not a JWT: three base64url parts, header and payload in JSON, joined by '.'"
	strangeBytes = "the token is not a JWT: it has characters other than A–Z, a–z, 0–9, '-', '_' and '.'"
	needKid      = "the token's header must have a kid: the id of the secret key that signed it"
	unknownKid   = "the token's kid is unknown or revoked"
	headerTwice  = "the token's header gives a parameter more than once"
	needTyp      = "the token's header typ must be JWT, or left out"
)

// mac is a JWT signed with an HMAC of any hash, whatever its header says.
func mac(header string, h func() hash.Hash, secret string) string {
	text := segment(header) + "." + segment(goodPayload)
	m := hmac.New(h, []byte(secret))
	m.Write([]byte(text))
	return text + "." + segment(string(m.Sum(nil)))
}

func TestHostileTokens(t *testing.T) {
	good := hs256(goodHeader, goodPayload, secretA)
	parts := strings.Split(good, ".")
	unsigned := func(header string) string { return segment(header) + "." + segment(goodPayload) + "." }
	tests := []struct{ name, token, want string }{
		// Not a token.
		{"nothing", "", "no token given"},
		{"garbage", "garbage", notJWT},
		{"two parts", parts[0] + "." + parts[1], notJWT},
		{"four parts", good + ".x", notJWT},
		{"dots alone", "..", notJWT},
		{"five parts, as an encrypted JWT has", "a.b.c.d.e", notJWT},
		{"white space at the end", good + "\n", strangeBytes},
		{"white space inside", parts[0] + ".\n" + parts[1] + "." + parts[2], strangeBytes},
		{"padding", good + "=", strangeBytes},
		{"standard base64", strings.Replace(good, parts[2], "+/"+parts[2][2:], 1), strangeBytes},
		{"not ASCII", good + "é", strangeBytes},
		{"payload not base64", hs256Raw(goodHeader, "a", secretA), notJWT},
		{"no header", "." + parts[1] + "." + parts[2], notJWT},
		{"header not JSON", segment("x") + "." + parts[1] + "." + parts[2], notJWT},
		{"payload not JSON", hs256(goodHeader, "x", secretA), notJWT},
		{"payload with trailing data", hs256(goodHeader, goodPayload+"{}", secretA), notJWT},
		{"payload nested too deep", hs256(goodHeader, strings.Repeat("[", 11000), secretA), notJWT},
		{"96 KiB and 1", strings.Repeat("a", MaxTokenBytes+1), "the token is 98305 bytes long; at most 98304 are allowed"},

		// Algorithms. CVE-2015-9235 and its kin: the token must not choose.
		{"alg none, unsigned", unsigned(`{"alg":"none","kid":"sk_a"}`), needHS256},
		{"alg None, unsigned", unsigned(`{"alg":"None","kid":"sk_a"}`), needHS256},
		{"alg none, signed", hs256(`{"alg":"none","kid":"sk_a"}`, goodPayload, secretA), needHS256},
		{"alg empty", unsigned(`{"alg":"","kid":"sk_a"}`), needHS256},
		{"alg null", unsigned(`{"alg":null,"kid":"sk_a"}`), needHS256},
		{"alg an array", unsigned(`{"alg":["HS256"],"kid":"sk_a"}`), needHS256},
		{"no alg", unsigned(`{"kid":"sk_a"}`), needHS256},
		{"header null", unsigned(`null`), needHS256},
		{"header an array", unsigned(`["HS256"]`), notJWT},
		{"header with trailing data", hs256(goodHeader+"{}", goodPayload, secretA), notJWT},
		{"alg in lower case", hs256(`{"alg":"hs256","kid":"sk_a"}`, goodPayload, secretA), needHS256},
		{"HS384, rightly signed", mac(`{"alg":"HS384","kid":"sk_a"}`, sha512.New384, secretA), needHS256},
		{"HS512, rightly signed", mac(`{"alg":"HS512","kid":"sk_a"}`, sha512.New, secretA), needHS256},
		{"HS256 in the header, HS512 in fact", mac(goodHeader, sha512.New, secretA), badSignature},
		{"HS256 then none", unsigned(`{"alg":"HS256","alg":"none","kid":"sk_a"}`), headerTwice},
		{"none then HS256, unsigned", unsigned(`{"alg":"none","alg":"HS256","kid":"sk_a"}`), headerTwice},
		{"kid twice", hs256(`{"alg":"HS256","kid":"sk_b","kid":"sk_a"}`, goodPayload, secretA), headerTwice},
		{"kid twice, once with an escape", hs256(`{"alg":"HS256","k\u0069d":"sk_b","kid":"sk_a"}`, goodPayload, secretA), headerTwice},
		{"half a character in kid", hs256(`{"alg":"HS256","kid":"sk_a\ud800"}`, goodPayload, secretA), "the token's header has half a character in it (an escape such as \\ud800)"},
		{"a kid that is not UTF-8", hs256("{\"alg\":\"HS256\",\"kid\":\"sk_a\xff\"}", goodPayload, secretA), "the token's header is not one JSON object in valid UTF-8"},
		{"a surrogate in UTF-8", hs256("{\"alg\":\"HS256\",\"kid\":\"sk_a\",\"x\":\"\xed\xa0\x80\"}", goodPayload, secretA), "the token's header is not one JSON object in valid UTF-8"},
		{"a header nested deep", hs256(`{"alg":"HS256","kid":"sk_a","x":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`, goodPayload, secretA), "the token's header is not one JSON object in valid UTF-8"},
		{"RS256, signed with the HMAC secret", hs256(`{"alg":"RS256","kid":"sk_a"}`, goodPayload, secretA), needHS256},
		{"ES256", hs256(`{"alg":"ES256","kid":"sk_a"}`, goodPayload, secretA), needHS256},
		{"EdDSA", hs256(`{"alg":"EdDSA","kid":"sk_a"}`, goodPayload, secretA), needHS256},

		// Signatures.
		{"no signature", parts[0] + "." + parts[1] + ".", badSignature},
		{"signature cut", good[:len(good)-3], badSignature},
		{"signature with spare bits", good[:len(good)-1] + spareBits(good[len(good)-1]), notJWT},
		{"signature of another payload", parts[0] + "." + segment(`{"sub":"admin","exp":1767229200}`) + "." + parts[2], badSignature},
		{"signed with nothing", hs256(goodHeader, goodPayload, ""), badSignature},
		{"signed with the key's id", hs256(goodHeader, goodPayload, "sk_a"), badSignature},
		{"signed by another app's key", hs256(goodHeader, goodPayload, secretB), badSignature},
		{"kid of another app", hs256(`{"alg":"HS256","kid":"sk_b"}`, goodPayload, secretA), badSignature},

		// Headers.
		{"no kid", hs256(`{"alg":"HS256"}`, goodPayload, secretA), needKid},
		{"kid empty", hs256(`{"alg":"HS256","kid":""}`, goodPayload, secretA), needKid},
		{"kid null", hs256(`{"alg":"HS256","kid":null}`, goodPayload, secretA), needKid},
		{"kid an array", hs256(`{"alg":"HS256","kid":["sk_a"]}`, goodPayload, secretA), needKid},
		{"kid in capitals", hs256(`{"alg":"HS256","KID":"sk_a"}`, goodPayload, secretA), needKid},
		{"kid unknown", hs256(`{"alg":"HS256","kid":"sk_zzz"}`, goodPayload, secretA), unknownKid},
		{"kid unknown, signed with nothing", hs256(`{"alg":"HS256","kid":"sk_zzz"}`, goodPayload, ""), unknownKid},
		{"kid a path", hs256(`{"alg":"HS256","kid":"../../dev/null"}`, goodPayload, ""), unknownKid},
		{"kid with the secret", hs256(`{"alg":"HS256","kid":"sk_a:`+secretA+`"}`, goodPayload, secretA), unknownKid},
		// A publishable key has no secret: nothing is what an attacker signs with.
		{"kid of a publishable key, signed with nothing", hs256(`{"alg":"HS256","kid":"pk_a"}`, goodPayload, ""), "the token's kid is a publishable key, which cannot sign tokens"},
		{"kid of a publishable key, signed with its id", hs256(`{"alg":"HS256","kid":"pk_a"}`, goodPayload, "pk_a"), "the token's kid is a publishable key, which cannot sign tokens"},
		{"key in the header", hs256(`{"alg":"HS256","kid":"sk_zzz","jwk":{"kty":"oct","k":"YQ"}}`, goodPayload, "a"), unknownKid},
		{"crit", hs256(`{"alg":"HS256","kid":"sk_a","crit":["exp"]}`, goodPayload, secretA), "the token's header has crit, which is not supported"},
		{"crit with b64", hs256(`{"alg":"HS256","kid":"sk_a","crit":["b64"],"b64":false}`, goodPayload, secretA), "the token's header has crit, which is not supported"},
		{"crit null", hs256(`{"alg":"HS256","kid":"sk_a","crit":null}`, goodPayload, secretA), "the token's header has crit, which is not supported"},
		{"typ of an encrypted token", hs256(`{"alg":"HS256","kid":"sk_a","typ":"JWE"}`, goodPayload, secretA), needTyp},
		{"typ of an access token", hs256(`{"alg":"HS256","kid":"sk_a","typ":"at+jwt"}`, goodPayload, secretA), needTyp},
		{"typ null", hs256(`{"alg":"HS256","kid":"sk_a","typ":null}`, goodPayload, secretA), needTyp},
		{"typ a number", hs256(`{"alg":"HS256","kid":"sk_a","typ":1}`, goodPayload, secretA), needTyp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantRefusal(t, tt.token, protocol.CloseInvalidCredential, tt.want) })
	}
}

// hs256Raw signs a payload part as it is.
func hs256Raw(header, payloadPart, secret string) string {
	text := segment(header) + "." + payloadPart
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return text + "." + segment(string(m.Sum(nil)))
}

// spareBits is another last character for a base64 text, which a lenient
// decoder reads as the same bytes: a second spelling of one signature.
func spareBits(last byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, last)|1])
}

// The key confusion attack: the verifier holds a public RSA key, and takes it
// for an HMAC secret. Here an RSA signature is refused as such, and a key whose
// secret is a PEM text is a secret like any other.
func TestHostileRSAConfusion(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := segment(`{"alg":"RS256","kid":"sk_a"}`) + "." + segment(goodPayload)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, text+"."+segment(string(signature)), protocol.CloseInvalidCredential, needHS256)

	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&private.PublicKey)}))
	wantRefusal(t, hs256(goodHeader, goodPayload, public), protocol.CloseInvalidCredential, badSignature)
}

// Whoever cannot sign must not learn how claims are judged, nor make the
// server read them.
func TestHostileClaimsAreNotReadBeforeTheSignature(t *testing.T) {
	for name, payload := range map[string]string{
		"expired":        `{"sub":"a","exp":1}`,
		"no claims":      `{}`,
		"channels null":  `{"sub":"a","exp":1767229200,"channels":null}`,
		"not covered":    `{"sub":"a","exp":1767229200,"channels":["**"]}`,
		"not an object":  `[]`,
		"invalid UTF-8":  `{"sub":"` + "\xff" + `"}`,
		"metadata large": `{"sub":"a","exp":1767229200,"metadata":` + object(9000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, hs256(goodHeader, payload, secretB), protocol.CloseInvalidCredential, badSignature)
		})
	}
}

// No single changed character may leave a token valid.
func TestHostileBitFlips(t *testing.T) {
	good := hs256(goodHeader, goodPayload, secretA)
	verify(t, good)
	dir := directory(t)
	for i := range len(good) {
		for bit := range 8 {
			changed := []byte(good)
			changed[i] ^= 1 << bit
			if grant, _ := VerifyToken(dir, string(changed), now); grant != nil {
				t.Fatalf("valid with bit %d of byte %d changed", bit, i)
			}
		}
	}
}

// A token is refused once its key is gone, and cut down once its key is.
func TestTokensFollowTheirKey(t *testing.T) {
	token := hs256(`{"alg":"HS256","kid":"sk_narrow"}`, `{"sub":"a","exp":1767229200,"permissions":["publish","subscribe"]}`, secretA)
	g := verify(t, token)
	if !touches(g, "devices/cam-1") || touches(g, "devices/cam-2") || g.Can("publish") || !g.Can("subscribe") {
		t.Errorf("grant = %+v", g)
	}
	wantRefusal(t, hs256(`{"alg":"HS256","kid":"sk_narrow"}`, `{"sub":"a","exp":1767229200,"channels":["devices/*"]}`, secretA),
		protocol.CloseChannelNotCovered, "the key does not cover devices/*")
}
