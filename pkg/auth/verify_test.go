package auth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

func TestVerifyTokenGivesWhatTheTokenSays(t *testing.T) {
	g := verify(t, signed(`,"iat":1767225000,"nbf":1767225000,"channels":["devices/cam-1/*","fleets/7"],"permissions":["subscribe","send","admin"],
		"metadata": { "n" : 12345678901234567890.10, "é": "<\u0041>" }, "peerMetadata":{"role":"camera"}`))
	if g.App.ID != "app_a" || g.Key.ID != "sk_a" || g.Peer != "device-1" {
		t.Errorf("app %q, key %q, peer %q", g.App.ID, g.Key.ID, g.Peer)
	}
	if got := texts(g.Patterns); got != "devices/cam-1/* fleets/7" {
		t.Errorf("patterns = %q", got)
	}
	// send is not in the key, admin is no action.
	if g.Actions != apps.ActionsOf(apps.ActionSubscribe) {
		t.Errorf("actions = %v", g.Actions.List())
	}
	if g.ExpiresAt.Unix() != 1767229200 || g.IssuedAt.Unix() != 1767225000 {
		t.Errorf("expires %v, issued %v", g.ExpiresAt, g.IssuedAt)
	}
	if got, want := string(g.Metadata), `{"n":12345678901234567890.10,"é":"<\u0041>"}`; got != want {
		t.Errorf("metadata = %s; want %s", got, want)
	}
	if got := string(g.PeerMetadata); got != `{"role":"camera"}` {
		t.Errorf("peerMetadata = %s", got)
	}
}

func TestVerifyTokenWithoutOptionalClaims(t *testing.T) {
	g := verify(t, signed(""))
	if g.Patterns != nil || g.Actions != g.Key.Actions || !g.IssuedAt.IsZero() || g.Metadata != nil || g.PeerMetadata != nil {
		t.Errorf("grant = %+v; want the key's own scope and nothing else", g)
	}
}

func TestVerifyTokenAccepts(t *testing.T) {
	many := func(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	payload := func(sub, exp string) string { return hs256(goodHeader, `{"sub":`+sub+`,"exp":`+exp+`}`, secretA) }
	tests := []struct {
		name, token string
		check       func(*Grant) bool
	}{
		{"no typ", hs256(`{"alg":"HS256","kid":"sk_a"}`, `{"sub":"a","exp":1767229200}`, secretA), nil},
		{"typ in lower case", hs256(`{"alg":"HS256","kid":"sk_a","typ":"jwt"}`, `{"sub":"a","exp":1767229200}`, secretA), nil},
		{"unknown claims of every type", signed(`,"iss":7,"aud":{"x":[]},"jti":null,"Sub":[],"EXP":"x","channel":null,"x":{},"x":1`), nil},
		{"expires in a second", payload(`"a"`, "1767225601"), nil},
		{"expires in half a second", payload(`"a"`, "1767225600.5"), func(g *Grant) bool { return g.ExpiresAt.Sub(now) == 500*time.Millisecond }},
		{"exp with an exponent", payload(`"a"`, "1.7672292e9"), func(g *Grant) bool { return g.ExpiresAt.Unix() == 1767229200 }},
		{"the last second of 9999", payload(`"a"`, "253402300799"), func(g *Grant) bool { return g.ExpiresAt.Year() == 9999 || g.ExpiresAt.UTC().Year() == 9999 }},
		{"issued 60 s ahead", signed(`,"iat":1767225660`), func(g *Grant) bool { return g.IssuedAt.Unix() == 1767225660 }},
		{"not before 60 s ahead", signed(`,"nbf":1767225660`), nil},
		{"issued before 1970", signed(`,"iat":-1e300`), func(g *Grant) bool { return g.IssuedAt.Unix() == 0 && !g.IssuedAt.IsZero() }},
		{"one character as sub", payload(`" "`, "1767229200"), func(g *Grant) bool { return g.Peer == " " }},
		{"128 characters as sub", payload(`"`+strings.Repeat("~", 128)+`"`, "1767229200"), nil},
		{"sub with escapes", payload(`"\u0061\"\/"`, "1767229200"), func(g *Grant) bool { return g.Peer == `a"/` }},
		{"sub is only like a reserved one", payload(`"server-1"`, "1767229200"), func(g *Grant) bool { return g.Peer == "server-1" }},
		{"sub in another case than a reserved one", payload(`"Server"`, "1767229200"), nil},
		{"a surrogate pair in a channel", signed(`,"channels":["devices/\ud83d\ude00"]`), func(g *Grant) bool { return touches(g, "devices/😀") }},
		{"metadata of 16 levels", signed(`,"metadata":` + levels(16)), func(g *Grant) bool { return string(g.Metadata) == levels(16) }},
		{"metadata stays as it is", signed(`,"peerMetadata":{"\ud800":"\udc00","a":1,"a":1.0}`), func(g *Grant) bool {
			return string(g.PeerMetadata) == `{"\ud800":"\udc00","a":1,"a":1.0}`
		}},
		{"no channels", signed(`,"channels":[]`), func(g *Grant) bool { return g.Patterns != nil && len(g.Patterns) == 0 && !touches(g, "devices/a") }},
		{"100 channels", signed(`,"channels":[` + many(`"devices/a"`, 100) + `]`), func(g *Grant) bool { return len(g.Patterns) == 100 }},
		{"no permissions", signed(`,"permissions":[]`), func(g *Grant) bool { return g.Actions == 0 }},
		{"16 permissions", signed(`,"permissions":[` + many(`"publish"`, 16) + `]`), func(g *Grant) bool { return g.Actions == apps.ActionsOf(apps.ActionPublish) }},
		{"unknown permissions alone", signed(`,"permissions":["admin","Publish",""]`), func(g *Grant) bool { return g.Actions == 0 }},
		{"metadata null", signed(`,"metadata":null,"peerMetadata":null`), func(g *Grant) bool { return g.Metadata == nil && g.PeerMetadata == nil }},
		{"metadata empty", signed(`,"metadata":{},"peerMetadata":{}`), func(g *Grant) bool { return string(g.Metadata) == "{}" && string(g.PeerMetadata) == "{}" }},
		{"8 KiB of metadata", signed(`,"metadata":` + object(8192)), func(g *Grant) bool { return len(g.Metadata) == 8192 }},
		{"8 KiB of metadata, spread out", signed(`,"metadata": { ` + strings.Repeat(" ", 500) + object(8192)[1:]), func(g *Grant) bool { return len(g.Metadata) == 8192 }},
		{"4 KiB of peerMetadata", signed(`,"peerMetadata":` + object(4096)), func(g *Grant) bool { return len(g.PeerMetadata) == 4096 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if g := verify(t, tt.token); tt.check != nil && !tt.check(g) {
				t.Errorf("grant = %+v", g)
			}
		})
	}
}

// exp has no leeway: at exp, and a nanosecond before.
func TestVerifyTokenExpiresExactly(t *testing.T) {
	token := signed("")
	exp := time.Unix(1767229200, 0)
	if _, refusal := VerifyToken(directory(t), token, exp.Add(-1)); refusal != nil {
		t.Errorf("a nanosecond before exp: %v", refusal)
	}
	for _, late := range []time.Duration{0, 1, time.Hour} {
		_, refusal := VerifyToken(directory(t), token, exp.Add(late))
		if refusal == nil || *refusal != (protocol.CloseError{Code: protocol.CloseExpired, Reason: "token expired"}) {
			t.Errorf("%v after exp: %v", late, refusal)
		}
	}
}

func TestVerifyTokenRefusesClaims(t *testing.T) {
	many := func(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	payload := func(text string) string { return hs256(goodHeader, text, secretA) }
	const (
		notObject = "the token's payload is not one JSON object in valid UTF-8, of at most 128 levels"
		badSub    = "claim sub must be a string of 1–128 printable ASCII characters"
		reserved  = "claim sub is reserved for the service, as are server, anon_… and _system…; choose another peer id"
		tooFar    = "lies beyond the year 9999: unix seconds are wanted, not milliseconds"
	)
	tests := []struct{ name, token, want string }{
		{"payload an array", payload(`[]`), notObject},
		{"payload null", payload(`null`), notObject},
		{"payload a string", payload(`"x"`), notObject},
		{"invalid UTF-8 in metadata", signed(`,"metadata":{"a":"` + "\xff" + `"}`), notObject},
		{"invalid UTF-8 in an unknown claim", signed(`,"x":"` + "\xc3" + `"`), notObject},

		{"no sub", payload(`{"exp":1767229200}`), "claim sub is missing: the peer's id is required"},
		{"sub null", payload(`{"exp":1767229200,"sub":null}`), badSub},
		{"sub a number", payload(`{"exp":1767229200,"sub":7}`), badSub},
		{"sub empty", payload(`{"exp":1767229200,"sub":""}`), badSub},
		{"sub of 129", payload(`{"exp":1767229200,"sub":"` + strings.Repeat("a", 129) + `"}`), badSub},
		{"sub with a newline, to forge a log line", payload(`{"exp":1767229200,"sub":"a\nb"}`), badSub},
		{"sub with DEL", payload(`{"exp":1767229200,"sub":"a` + "\x7f" + `"}`), badSub},
		{"sub not ASCII", payload(`{"exp":1767229200,"sub":"é"}`), badSub},
		{"sub in another case", payload(`{"exp":1767229200,"SUB":"a"}`), "claim sub is missing: the peer's id is required"},

		{"half a character in sub", payload(`{"exp":1767229200,"sub":"a\ud800"}`), badSub},
		{"half a character in channels", signed(`,"channels":["devices/a","devices/\udc00"]`), "claim channels has half a character (an escape such as \\ud800) at [1]"},
		{"half a character in permissions", signed(`,"permissions":["send\ud800"]`), "claim permissions has half a character (an escape such as \\ud800) at [0]"},
		{"metadata of 17 levels", signed(`,"metadata":` + levels(17)), "claim metadata is nested too deep; at most 16 levels are allowed"},
		{"peerMetadata of 17 levels", signed(`,"peerMetadata":` + levels(17)), "claim peerMetadata is nested too deep; at most 16 levels are allowed"},
		{"peerMetadata of 120 levels", signed(`,"peerMetadata":` + levels(120)), "claim peerMetadata is nested too deep; at most 16 levels are allowed"},
		{"metadata of 2,000 levels", signed(`,"metadata":` + levels(2000)), notObject},
		{"an unknown claim of 2,000 levels", signed(`,"x":` + levels(2000)), notObject},

		{"sub is whom REST publishes are from", payload(`{"exp":1767229200,"sub":"server"}`), reserved},
		{"sub is spelled with an escape", payload(`{"exp":1767229200,"sub":"\u0073erver"}`), reserved},
		{"sub is the system", payload(`{"exp":1767229200,"sub":"_system"}`), reserved},
		{"sub is a part of the system", payload(`{"exp":1767229200,"sub":"_system/a"}`), reserved},
		{"sub is like a publishable key's peer", payload(`{"exp":1767229200,"sub":"anon_0123456789abcdefghijkl"}`), reserved},

		{"no exp", payload(`{"sub":"a"}`), "claim exp is missing: unix seconds are required"},
		{"exp as text", payload(`{"sub":"a","exp":"1767229200"}`), "claim exp must be a number of unix seconds, got a string"},
		{"exp null", payload(`{"sub":"a","exp":null}`), "claim exp must be a number of unix seconds, got null"},
		{"exp true", payload(`{"sub":"a","exp":true}`), "claim exp must be a number of unix seconds, got a boolean"},
		{"exp in milliseconds", payload(`{"sub":"a","exp":1767229200000}`), "claim exp " + tooFar},
		{"exp in the year 10000", payload(`{"sub":"a","exp":253402300800}`), "claim exp " + tooFar},
		{"exp over int64", payload(`{"sub":"a","exp":9223372036854775808}`), "claim exp " + tooFar},
		{"exp over float64", payload(`{"sub":"a","exp":1e999}`), "claim exp " + tooFar},
		{"exp with 8,000 digits", payload(`{"sub":"a","exp":` + strings.Repeat("9", 8000) + `}`), "claim exp " + tooFar},

		{"iat as text", signed(`,"iat":"now"`), "claim iat must be a number of unix seconds, got a string"},
		{"iat null", signed(`,"iat":null`), "claim iat must be a number of unix seconds, got null"},
		{"iat 61 s ahead", signed(`,"iat":1767225661`), "the token is from the future: iat lies more than 60 s ahead of the server's clock"},
		{"iat over float64", signed(`,"iat":1e999`), "claim iat " + tooFar},
		{"nbf as an object", signed(`,"nbf":{}`), "claim nbf must be a number of unix seconds, got an object"},
		{"nbf 60.001 s ahead", signed(`,"nbf":1767225660.001`), "the token is not valid yet: nbf lies more than 60 s ahead of the server's clock"},

		// null must not be taken for absent: absent is all that the key may do.
		{"channels null", signed(`,"channels":null`), "claim channels must be an array of strings, got null"},
		{"channels a string", signed(`,"channels":"devices/a"`), "claim channels must be an array of strings, got a string"},
		{"channels an object", signed(`,"channels":{"0":"devices/a"}`), "claim channels must be an array of strings, got an object"},
		{"channels with null in it", signed(`,"channels":["devices/a",null]`), "claim channels must be an array of strings, got null at [1]"},
		{"channels with a number in it", signed(`,"channels":[1]`), "claim channels must be an array of strings, got a number at [0]"},
		{"101 channels", signed(`,"channels":[` + many(`"devices/a"`, 101) + `]`), "claim channels has 101 entries; at most 100 are allowed"},
		{"permissions null", signed(`,"permissions":null`), "claim permissions must be an array of strings, got null"},
		{"permissions a string", signed(`,"permissions":"publish"`), "claim permissions must be an array of strings, got a string"},
		{"permissions with false in it", signed(`,"permissions":[false]`), "claim permissions must be an array of strings, got a boolean at [0]"},
		{"17 permissions", signed(`,"permissions":[` + many(`"x"`, 17) + `]`), "claim permissions has 17 entries; at most 16 are allowed"},

		{"metadata an array", signed(`,"metadata":[]`), "claim metadata must be a JSON object, got an array"},
		{"metadata a string", signed(`,"metadata":"{}"`), "claim metadata must be a JSON object, got a string"},
		{"metadata false", signed(`,"metadata":false`), "claim metadata must be a JSON object, got a boolean"},
		{"8 KiB and 1 of metadata", signed(`,"metadata":` + object(8193)), "claim metadata is 8193 bytes long as compact JSON; at most 8192 are allowed"},
		{"4 KiB and 1 of peerMetadata", signed(`,"peerMetadata":` + object(4097)), "claim peerMetadata is 4097 bytes long as compact JSON; at most 4096 are allowed"},
		{"peerMetadata a number", signed(`,"peerMetadata":1`), "claim peerMetadata must be a JSON object, got a number"},

		// Another reader of the token could go by the other one.
		{"sub twice", signed(`,"sub":"admin"`), "claim sub is given more than once"},
		{"exp twice", signed(`,"exp":99999999999`), "claim exp is given more than once"},
		{"channels twice", signed(`,"channels":[],"channels":["devices/**"]`), "claim channels is given more than once"},
		{"channels twice, once with an escape", signed(`,"channels":[],"\u0063hannels":["devices/**"]`), "claim channels is given more than once"},
		{"metadata twice", signed(`,"metadata":null,"metadata":{}`), "claim metadata is given more than once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantRefusal(t, tt.token, protocol.CloseInvalidCredential, tt.want) })
	}
}

// What is wrong with a pattern is said by the channel package.
func TestVerifyTokenRefusesInvalidPatterns(t *testing.T) {
	for name, pattern := range map[string]string{
		"empty": "", "too long": "devices/" + strings.Repeat("a", 257), "dot level": "devices/../x", "control character": `devices/\u0000`,
	} {
		_, refusal := VerifyToken(directory(t), signed(`,"channels":["devices/a","`+pattern+`"]`), now)
		if refusal == nil || refusal.Code != protocol.CloseInvalidCredential || !strings.HasPrefix(refusal.Reason, "claim channels has an invalid pattern at [1]: ") {
			t.Errorf("%s: %v", name, refusal)
		}
	}
}

// Times before 1970 are in the past, however far.
func TestVerifyTokenExpired(t *testing.T) {
	for _, exp := range []string{"1767225600", "1767225599.999", "1", "0", "-0", "-1", "-1e18", "-1e999", "1e-999"} {
		wantRefusal(t, hs256(goodHeader, `{"sub":"a","exp":`+exp+`}`, secretA), protocol.CloseExpired, "token expired")
	}
}

func TestVerifyTokenRefusesWhatTheKeyDoesNotCover(t *testing.T) {
	for _, pattern := range []string{"**", "public/a", "fleets/**", "*", "d*/**", "devices", "_system/x"} {
		t.Run(pattern, func(t *testing.T) {
			wantRefusal(t, signed(fmt.Sprintf(`,"channels":["devices/a",%q]`, pattern)),
				protocol.CloseChannelNotCovered, "the key does not cover "+pattern)
		})
	}
	t.Run("a long pattern is cut to what a close frame holds", func(t *testing.T) {
		wantRefusal(t, signed(`,"channels":["x/`+strings.Repeat("é", 120)+`"]`),
			protocol.CloseChannelNotCovered, "the key does not cover x/"+strings.Repeat("é", 49))
	})
	t.Run("expired comes first", func(t *testing.T) {
		wantRefusal(t, hs256(goodHeader, `{"sub":"a","exp":1,"channels":["**"]}`, secretA), protocol.CloseExpired, "token expired")
	})
}

// The grant must not change when the caller reuses the buffer a token came in.
func TestGrantDoesNotDependOnOtherTokens(t *testing.T) {
	first := verify(t, signed(`,"metadata":{"a":1}`))
	verify(t, signed(`,"metadata":{"b":2}`))
	if string(first.Metadata) != `{"a":1}` {
		t.Errorf("metadata = %s", first.Metadata)
	}
}
