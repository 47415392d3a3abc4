// Package clientaddr finds out from where a request comes, and by which scheme, when there may be
// proxies in between.
package clientaddr

import (
	"net/http"
	"net/netip"
	"strings"
)

// Of is the address that a request counts against (protocol §6). The entries
// of X-Forwarded-For are believed from its end backwards, as long as it was a
// trusted proxy that wrote it: everything before that may be made up.
func Of(remote netip.Addr, forwardedFor []string, trusted []netip.Prefix) netip.Addr {
	address := remote.Unmap()
	hops := strings.Split(strings.Join(forwardedFor, ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(address, trusted); i-- {
		hop, err := parseHop(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap()
	}
	return address
}

// Limited is what a client's requests count against: its address or, with IPv6,
// the /64 that it is in, since a single subscriber has at least that many addresses
// to change between (RFC 6177 §2).
func Limited(a netip.Addr) string {
	if a.Is4() || !a.IsValid() {
		return a.String()
	}
	network, _ := a.WithZone("").Prefix(64) // fails for lengths over 128 alone
	return network.String()
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseHop reads an address with or without a port, an IPv6 address with or
// without brackets: proxies differ.
func parseHop(s string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a, nil
	}
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr(), err
}

// HTTPS says whether a browser has sent a request by https: a trusted proxy says so, or the browser
// does by the origin of its page.
func HTTPS(remote netip.Addr, header http.Header, trusted []netip.Prefix) bool {
	if strings.HasPrefix(header.Get("Origin"), "https://") {
		return true
	}
	first, _, _ := strings.Cut(header.Get("X-Forwarded-Proto"), ",")
	return isTrusted(remote.Unmap(), trusted) && strings.EqualFold(strings.TrimSpace(first), "https")
}
