package webhook

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestAddresses(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}
	for address, want := range map[string]struct{ secure, plain bool }{
		"93.184.215.14": {true, false}, "8.8.8.8": {true, false}, "172.32.0.1": {true, false}, "100.128.0.1": {true, false},
		"2606:4700::1111": {true, false}, "2a00:1450:4001::1": {true, false},
		"::ffff:8.8.8.8": {true, false}, "64:ff9b::808:808": {true, false}, "2002:808:808::1": {true, false},
		"10.1.2.3": {true, true}, "::ffff:10.1.2.3": {true, true}, "fd00:1::7": {true, true},

		"0.0.0.0": {}, "0.1.2.3": {}, "10.0.0.1": {}, "10.2.0.1": {}, "100.64.0.1": {}, "100.100.100.200": {}, "127.0.0.1": {}, "127.9.9.9": {},
		"168.63.129.16": {}, "169.254.169.254": {}, "169.254.170.2": {}, "172.16.0.1": {}, "172.31.255.255": {}, "192.0.0.192": {}, "192.0.2.1": {},
		"192.88.99.1": {}, "192.168.1.1": {}, "198.18.0.1": {}, "198.51.100.1": {}, "203.0.113.1": {}, "224.0.0.1": {}, "239.255.255.255": {},
		"240.0.0.1": {}, "255.255.255.255": {},
		"::": {}, "::1": {}, "::127.0.0.1": {}, "::ffff:127.0.0.1": {}, "::ffff:169.254.169.254": {}, "fe80::1": {}, "fe80::1%eth0": {}, "fec0::1": {},
		"fc00::1": {}, "fd00:ec2::254": {}, "fd20:ce::254": {}, "ff02::1": {}, "2001::1": {}, "2001:db8::1": {}, "3fff::1": {},
		"64:ff9b::7f00:1": {}, "64:ff9b::a9fe:a9fe": {}, "64:ff9b:1::808:808": {}, "2002:7f00:1::1": {}, "2002:a9fe:a9fe::": {}, "100::1": {}, "5f00::1": {},
	} {
		for plain, allowed := range map[bool]bool{false: want.secure, true: want.plain} {
			err := control(networks, plain)("tcp", net.JoinHostPort(address, "443"), nil)
			var refused *addressError
			if allowed != (err == nil) || err != nil && !errors.As(err, &refused) {
				t.Errorf("%s, plain %v: %v", address, plain, err)
			}
		}
	}
}

func FuzzNoPrivateAddress(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte{0x20, 2, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		a = a.Unmap()
		if public(a) && (a.IsPrivate() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || !a.IsGlobalUnicast()) {
			t.Errorf("%s is taken for public", a)
		}
	})
}
