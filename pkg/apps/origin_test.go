package apps

import (
	"strings"
	"testing"
)

func originsDocument(list string) string {
	return keyDocument(`{"id":"pk_1","channelPatterns":[],"actions":[],"allowedOrigins":` + list + `}`)
}

func TestAllowsOrigin(t *testing.T) {
	tests := []struct {
		allowed string
		yes, no []string
	}{
		{"https://app.example.com",
			[]string{"https://app.example.com"},
			[]string{
				"null", "https://example.com", "https://other.example.com",
				// What an attacker registers, or hopes that a careless match takes.
				"https://app.example.com.evil.org", "https://evil.org/app.example.com", "https://app.example.com@evil.org",
				"https://evilapp.example.com", "https://x.app.example.com", "https://app-example.com", "https://appxexample.com",
				"https://evil.org#https://app.example.com", "https://evil.org?https://app.example.com", `https://evil.org\app.example.com`,
				"http://app.example.com", "ws://app.example.com", "wss://app.example.com", "ftp://app.example.com", "//app.example.com", "app.example.com",
				"https://app.example.com:8443", "https://app.example.com:80", "https://app.example.com:", "https://app.example.com:443",
				// Spellings that no browser sends.
				"HTTPS://app.example.com", "https://APP.example.com", "https://app.example.com/", "https://app.example.com.", "https:///app.example.com",
				"https://app.example.com/path", " https://app.example.com", "https://app.example.com ", "https://app.example.com\x00", "https://app.example.com\n",
				"https://app.example.com, https://evil.org", "https://evil.org, https://app.example.com", "https://app.example.com https://evil.org",
				// A Cyrillic а.
				"https://\u0430pp.example.com", "https://xn--pp-6kc.example.com",
			}},
		{"https://*.example.com",
			[]string{"https://app.example.com", "https://a.b.example.com", "https://xn--bcher-kva.example.com", "https://a_b.example.com"},
			[]string{"https://example.com", "https://.example.com", "https://a..example.com", "https://evilexample.com", "https://app.example.com.evil.org",
				"https://evil.org/.example.com", "https://evil.org:1.example.com", "https://evil.org@.example.com", "https://evil.org#.example.com", "https://evil.org?.example.com", `https://evil.org\.example.com`,
				"http://app.example.com", "https://app.example.com:8443", "https://*.example.com", "https://[::1].example.com"}},
		{"http://localhost:*",
			[]string{"http://localhost", "http://localhost:1", "http://localhost:3000", "http://localhost:65535"},
			[]string{"https://localhost:3000", "http://localhost:65536", "http://localhost:03000", "http://localhost:3000/", "http://localhost:*", "http://localhost:", "http://localhost:-1", "http://localhost:+1", "http://localhost:3000:80",
				"http://localhost.evil.org:3000", "http://x.localhost:3000", "http://localhost:3000@evil.org", "http://localhost:x", "http://evil.org:3000"}},
		{"https://*.example.com:*",
			[]string{"https://a.example.com", "https://a.example.com:8443"},
			[]string{"https://example.com:8443", "http://a.example.com:8443", "https://a.example.com:8443.evil.org"}},
		{"https://*.localhost:3000", []string{"https://a.localhost:3000"}, []string{"https://localhost:3000", "https://a.localhost"}},
		{"https://example.com:8443", []string{"https://example.com:8443"}, []string{"https://example.com", "https://example.com:8444", "https://example.com:84430"}},
		{"http://[::1]:3000", []string{"http://[::1]:3000"}, []string{"http://[::1]", "http://[::2]:3000", "http://::1:3000", "http://[::1", "http://[::1]3000", "http://[::1]x"}},
		{"http://127.0.0.1", []string{"http://127.0.0.1"}, []string{"http://127.0.0.1:80", "http://127.0.0.11", "http://127.1"}},
		// Pages of apps and extensions have origins too.
		{"capacitor://localhost", []string{"capacitor://localhost"}, []string{"http://localhost", "capacitor://localhost:1"}},
		{"chrome-extension://abcdefghijklmnopabcdefghijklmnop", []string{"chrome-extension://abcdefghijklmnopabcdefghijklmnop"}, []string{"chrome-extension://b"}},
		// The port that another scheme leaves out.
		{"http://example.com:443", []string{"http://example.com:443"}, []string{"http://example.com"}},
	}
	for _, tt := range tests {
		t.Run(tt.allowed, func(t *testing.T) {
			dir, err := Parse([]byte(originsDocument(`["https://unrelated.example","` + tt.allowed + `"]`)))
			if err != nil {
				t.Fatal(err)
			}
			key, _ := dir.Key("pk_1")
			if got := key.AllowedOrigins[1].String(); got != tt.allowed {
				t.Errorf("String() = %q", got)
			}
			for _, header := range append(tt.yes, "", "https://unrelated.example") {
				if !key.AllowsOrigin(header) {
					t.Errorf("%q is not allowed", header)
				}
			}
			for _, header := range tt.no {
				if key.AllowsOrigin(header) {
					t.Errorf("%q is allowed", header)
				}
			}
		})
	}
}

func TestAKeyWithoutOriginsAllowsAll(t *testing.T) {
	dir, err := Parse([]byte(document("")))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := dir.Key("sk_live_1")
	for _, header := range []string{"", "null", "https://evil.org", "nonsense"} {
		if !key.AllowsOrigin(header) {
			t.Errorf("%q is not allowed", header)
		}
	}
}

func TestParseRefusesOrigins(t *testing.T) {
	const general = `must be an origin, such as "https://app.example.com", "https://*.example.com" or "http://localhost:*"`
	tests := []struct{ name, origin, want string }{
		{"any", "*", "must be left out to allow all origins"},
		{"null", "null", `must not be "null": every sandboxed page and local file has that origin`},
		{"nothing", "", general},
		{"a host alone", "app.example.com", general},
		{"a scheme alone", "https://", general},
		{"a port alone", "https://:443", general},
		{"no scheme", "://app.example.com", general},
		{"any scheme", "*://app.example.com", general},
		{"a slash at the end", "https://app.example.com/", `must end after the host or port: no path, and no "/" at the end`},
		{"a path", "https://app.example.com/app", `must end after the host or port: no path, and no "/" at the end`},
		{"upper case", "https://App.example.com", "must be in lower case, as browsers send it"},
		{"not ASCII", "https://bücher.example", `must have the host in its ASCII form, as in "https://xn--bcher-kva.example"`},
		{"https with its port", "https://app.example.com:443", "must leave out the port 443, as browsers do"},
		{"http with its port", "http://app.example.com:80", "must leave out the port 80, as browsers do"},
		{"a wildcard for everybody", "https://*", general},
		{"a wildcard for a top-level domain", "https://*.com", `must have a "." in what comes after "*.", or it would allow everybody's hosts`},
		{"a wildcard in a label", "https://app-*.example.com", general},
		{"a wildcard in the middle", "https://app.*.example.com", general},
		{"two wildcards", "https://*.*.example.com", general},
		{"a wildcard without a dot", "https://*example.com", general},
		{"half a wildcard port", "http://localhost:30*", general},
		{"two ports", "http://localhost:3000:*", general},
		{"two wildcard ports", "http://localhost:*:*", general},
		{"port too large", "http://localhost:65536", general},
		{"port with a zero before it", "http://localhost:080", general},
		{"a name and a password", "https://me:secret@app.example.com", general},
		{"an empty label", "https://app..example.com", general},
		{"a dot first", "https://.example.com", general},
		{"white space", "https://app.example.com ", general},
		{"two at once", "https://a.example,https://b.example", `must end after the host or port: no path, and no "/" at the end`},
		{"an address that is not closed", "http://[::1", general},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(originsDocument(`["https://good.example","` + tt.origin + `"]`)))
			if want := "apps document: apps[0].keys[0].allowedOrigins[1]: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("error is\n  %v\nwant\n  %s", err, want)
			}
		})
	}
	for _, tt := range []struct{ name, list, want string }{
		{"an empty list", "[]", "apps[0].keys[0].allowedOrigins: must have at least one origin; leave the field out to allow all"},
		{"null", "null", "apps[0].keys[0].allowedOrigins: must be an array, got null"},
		{"text", `"https://a.example"`, "apps[0].keys[0].allowedOrigins: must be an array, got a string"},
		{"a number in it", "[1]", "apps[0].keys[0].allowedOrigins[0]: must be a string, got a number"},
		{"101", `["http://a"` + strings.Repeat(`,"http://a"`, 100) + "]", "apps[0].keys[0].allowedOrigins: has 101 origins; at most 100 are allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(originsDocument(tt.list)))
			if want := "apps document: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("error is\n  %v\nwant\n  %s", err, want)
			}
		})
	}
}
