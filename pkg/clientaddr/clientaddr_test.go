package clientaddr

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestOf(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:aaaa::/48")}
	for _, tt := range []struct {
		name         string
		remote       string
		forwardedFor []string
		trusted      []netip.Prefix
		want         string
	}{
		{"no proxy", "203.0.113.7", nil, nil, "203.0.113.7"},
		{"IPv4 in IPv6", "::ffff:203.0.113.7", nil, nil, "203.0.113.7"},
		{"IPv6", "2001:db8::7", nil, proxies, "2001:db8::7"},

		// HOSTILE: a peer that writes the header itself, to be somebody else at each connect.
		{"spoofed, nobody trusted", "203.0.113.7", []string{"198.51.100.1"}, nil, "203.0.113.7"},
		{"spoofed, not by a proxy", "203.0.113.7", []string{"198.51.100.1"}, proxies, "203.0.113.7"},
		{"spoofed in front of what the proxy wrote", "10.0.0.1", []string{"198.51.100.1, 203.0.113.7"}, proxies, "203.0.113.7"},
		{"spoofed in a header of its own", "10.0.0.1", []string{"198.51.100.1", "203.0.113.7"}, proxies, "203.0.113.7"},
		{"spoofed as a proxy", "10.0.0.1", []string{"10.9.9.9, 203.0.113.7"}, proxies, "203.0.113.7"},
		{"spoofed as a chain of proxies", "10.0.0.1", []string{"10.9.9.9, 10.9.9.8, 203.0.113.7, 10.0.0.2"}, proxies, "203.0.113.7"},
		{"garbage in front of what the proxy wrote", "10.0.0.1", []string{"'; drop table, 203.0.113.7"}, proxies, "203.0.113.7"},

		{"a proxy", "10.0.0.1", []string{"203.0.113.7"}, proxies, "203.0.113.7"},
		{"two proxies", "10.0.0.1", []string{"203.0.113.7, 10.0.0.2"}, proxies, "203.0.113.7"},
		{"two proxies, two headers", "10.0.0.1", []string{"203.0.113.7", "10.0.0.2"}, proxies, "203.0.113.7"},
		{"proxies of both families", "2001:db8:aaaa::1", []string{"203.0.113.7,10.0.0.2"}, proxies, "203.0.113.7"},
		{"a proxy as IPv4 in IPv6", "::ffff:10.0.0.1", []string{"::ffff:203.0.113.7"}, proxies, "203.0.113.7"},
		{"no spaces, many spaces", "10.0.0.1", []string{"203.0.113.7,   10.0.0.2 ,10.0.0.3"}, proxies, "203.0.113.7"},
		{"IPv6 behind a proxy", "10.0.0.1", []string{"2001:DB8::7"}, proxies, "2001:db8::7"},
		{"with a port", "10.0.0.1", []string{"203.0.113.7:51234"}, proxies, "203.0.113.7"},
		{"IPv6 with a port", "10.0.0.1", []string{"[2001:db8::7]:51234"}, proxies, "2001:db8::7"},
		{"IPv6 in brackets alone", "10.0.0.1", []string{"[2001:db8::7]"}, proxies, "2001:db8::7"},
		{"proxies all the way", "10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, proxies, "10.0.0.3"},

		{"no header behind a proxy", "10.0.0.1", nil, proxies, "10.0.0.1"},
		{"empty header", "10.0.0.1", []string{""}, proxies, "10.0.0.1"},
		{"only commas", "10.0.0.1", []string{",,"}, proxies, "10.0.0.1"},
		{"garbage", "10.0.0.1", []string{"unknown"}, proxies, "10.0.0.1"},
		{"garbage by the last proxy", "10.0.0.1", []string{"203.0.113.7, _hidden, 10.0.0.2"}, proxies, "10.0.0.2"},
		{"a port out of range", "10.0.0.1", []string{"203.0.113.7:99999"}, proxies, "10.0.0.1"},
		{"a host name", "10.0.0.1", []string{"example.com"}, proxies, "10.0.0.1"},
		{"too many numbers", "10.0.0.1", []string{"1.2.3.4.5"}, proxies, "10.0.0.1"},
		{"octal numbers", "10.0.0.1", []string{"010.000.000.001"}, proxies, "10.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Of(netip.MustParseAddr(tt.remote), tt.forwardedFor, tt.trusted)
			if got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestLimited(t *testing.T) {
	for address, want := range map[string]string{
		"203.0.113.7":                      "203.0.113.7",
		"2001:db8:1:2:3:4:5:6":             "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff:ffff:ffff:ffff": "2001:db8:1:2::/64",
		"2001:db8:1:3::1":                  "2001:db8:1:3::/64",
		"fe80::1%eth0":                     "fe80::/64",
		"::1":                              "::/64",
	} {
		if got := Limited(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
	if got := Limited(netip.Addr{}); got != "invalid IP" {
		t.Errorf("no address: got %s", got)
	}
}

func TestHTTPS(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct {
		name, remote  string
		origin, proto string
		want          bool
	}{
		{"nothing said", "10.0.0.1", "", "", false},
		{"a page by http", "203.0.113.7", "http://example.com", "", false},
		{"a page by https", "203.0.113.7", "https://example.com", "", true},
		{"a proxy", "10.0.0.1", "", "https", true},
		{"a proxy, as IPv4 in IPv6", "::ffff:10.0.0.1", "", "HTTPS", true},
		{"the first of two proxies", "10.0.0.1", "", "https, http", true},
		{"a proxy by http", "10.0.0.1", "", "http", false},
		{"not by a proxy", "203.0.113.7", "", "https", false},
	} {
		header := http.Header{}
		header.Set("Origin", tt.origin)
		header.Set("X-Forwarded-Proto", tt.proto)
		if got := HTTPS(netip.MustParseAddr(tt.remote), header, proxies); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
