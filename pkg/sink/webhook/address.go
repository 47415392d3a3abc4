package webhook

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// private are the addresses that are not on the internet, and those of clouds' metadata: a
// webhook must not reach what only this machine can reach (IANA's special-purpose registries).
var private = prefixes(
	"0.0.0.0/8",        // this network
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // behind carriers' NAT, and some clouds' metadata
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // Azure's host
	"169.254.0.0/16",   // link-local, and clouds' metadata
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocols, and Oracle's metadata
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relays
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, and broadcast

	"2001::/23",     // protocols, Teredo
	"2001:db8::/32", // documentation
	"3fff::/20",     // documentation
)

var (
	// global are the IPv6 addresses on the internet; loopback, ULA, link-local, multicast and
	// local NAT64 (64:ff9b:1::/48) lie outside.
	global = netip.MustParsePrefix("2000::/3")
	// Addresses of these have one of IPv4 in them, to which packets go.
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

func prefixes(all ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range all {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func within(a netip.Addr, networks []netip.Prefix) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// public says whether packets to the address leave for the internet.
func public(a netip.Addr) bool {
	if a.Is4() {
		return !within(a, private)
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return public(netip.AddrFrom4([4]byte(b[12:16])))
	case sixToFour.Contains(a):
		return public(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return global.Contains(a) && !within(a, private)
}

// addressError reports that an address must not be reached.
type addressError struct {
	address netip.Addr
	plain   bool
}

func (e *addressError) Error() string {
	if e.plain {
		return fmt.Sprintf("the endpoint has the address %s, and http:// is only for networks in -sink-networks; use https://, or add the network", e.address)
	}
	return fmt.Sprintf("the endpoint has the address %s, which is not public; add its network to -sink-networks if webhooks may reach it", e.address)
}

// control checks an address that a connection is about to be made to, after names were
// resolved: what a name resolved to before says nothing.
func control(networks []netip.Prefix, plain bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("not an address: %w", err)
		}
		a := to.Addr().Unmap().WithZone("")
		if within(a, networks) || !plain && public(a) {
			return nil
		}
		return &addressError{a, plain}
	}
}

// transport has different addresses for http:// and https://, at redirects too.
type transport struct{ plain, secure *http.Transport }

func newTransport(networks []netip.Prefix) *transport {
	one := func(plain bool) *http.Transport {
		dialer := &net.Dialer{Timeout: timeout, Control: control(networks, plain)}
		return &http.Transport{ // no Proxy: it would resolve names, and reach addresses, itself
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    timeout, // a handshake goes on when its delivery has ended
			DisableCompression:     true,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        90 * time.Second,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: timeout, PingTimeout: timeout / 3}, // else a dead connection is used on and on
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &transport{plain: one(true), secure: one(false)}
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		return t.secure.RoundTrip(r)
	}
	return t.plain.RoundTrip(r)
}

func (t *transport) close() {
	t.plain.CloseIdleConnections()
	t.secure.CloseIdleConnections()
}
