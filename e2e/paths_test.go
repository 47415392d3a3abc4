package e2e

import "testing"

// The channel in a REST path (protocol §5): percent-encoded, or with slashes
// that a front door has decoded; everything up to the last /publish. What a
// subscriber of everything gets, and the response, name it as it is.
func TestChannelInThePath(t *testing.T) {
	key := newKey("paths", "**")
	cases := []struct{ name, path, channel string }{
		{"encoded slashes", "devices%2Fcamera-1%2Fcommands", "devices/camera-1/commands"},
		{"lower-case escapes", "devices%2fcamera-1%2fcommands", "devices/camera-1/commands"},
		{"decoded slashes", "devices/camera-1/commands", "devices/camera-1/commands"},
		{"both", "devices%2Fcamera-1/commands", "devices/camera-1/commands"},
		{"a level named publish", "a/publish/b", "a/publish/b"},
		{"ends in publish", "a/publish", "a/publish"},
		{"is publish", "publish", "publish"},
		{"is publish twice", "publish/publish", "publish/publish"},
		{"a level named peers", "a%2Fpeers", "a/peers"},
		{"an empty level", "a//b", "a//b"},
		{"an empty level, encoded", "a%2F%2Fb", "a//b"},
		{"a slash at the end", "a/", "a/"},
		{"a slash at the beginning", "%2Fa", "/a"},
		{"a slash at the beginning, decoded", "/a", "/a"},
		{"a percent sign", "100%25", "100%"},
		{"an escape within a name", "a%252Fb", "a%2Fb"},
		{"a plus sign", "a+b", "a+b"},
		{"a plus sign, encoded", "a%2Bb", "a+b"},
		{"a space", "a%20b", "a b"},
		{"a question mark", "a%3Fb%3D1", "a?b=1"},
		{"a hash", "a%23b", "a#b"},
		{"colons and more", "a:b@c,d;e=f&g!h$i'j(k)", "a:b@c,d;e=f&g!h$i'j(k)"},
		{"unicode", "%E6%B0%B4%2F%C3%A9", "水/é"},
		{"an escaped star", "a%5C%2A", `a\*`},
		{"three dots", "a/.../b", "a/.../b"},
		{"dots in a level", "..a/b.c/d..", "..a/b.c/d.."},
		{"quotes", "a%22b", `a"b`},
		{"256 bytes", "x/" + string(make256()), "x/" + string(make256())},
	}
	onEachRedis(t, []*appDoc{newApp("app_paths", key)}, func(t *testing.T, s *system) {
		listener := s.last().connect(t, key.token("listener", nil)).subscribe("**")
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				a, err := s.first().call("POST", "/v1/channels/"+c.path+"/publish", key.credential(), `{"data":1}`)
				if err != nil {
					t.Fatal(err)
				}
				if want := `{"channel":` + quoted(c.channel) + `,"subscribers":0}`; a.status != 200 || a.body != want {
					t.Fatalf("%d %s, want %s", a.status, a.body, want)
				}
				if a.header.Get("Content-Type") != "application/json" {
					t.Errorf("Content-Type: %q", a.header.Get("Content-Type"))
				}
				listener.t = t
				listener.expectMessage(c.channel, "server", "1")
			})
		}
	})
}

func make256() []byte {
	b := make([]byte, 254)
	for i := range b {
		b[i] = 'n'
	}
	return b
}
