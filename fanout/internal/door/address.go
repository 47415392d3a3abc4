package door

import (
	"net/netip"
	"strings"
)

// clientAddress is the address that a connect counts against (protocol §6). The entries
// of X-Forwarded-For are believed from its end backwards, as long as it was a
// trusted proxy that wrote it: everything before that may be made up.
func clientAddress(remote netip.Addr, forwardedFor []string, trusted []netip.Prefix) netip.Addr {
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

// limitedAs is what a client's connects count against: its address or, with IPv6,
// the /64 that it is in, since a single subscriber has at least that many addresses
// to change between (RFC 6177 §2).
func limitedAs(a netip.Addr) string {
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
