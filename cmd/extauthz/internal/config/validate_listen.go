package config

import (
	"net"
	"net/netip"
	"strings"
)

// ownAddress reports a listener whose address one of the listeners before takes, so that
// serve could not bind it.
func (v *validator) ownAddress(l Listener, before []Listener) {
	setting := l.Section + ".listen"
	for _, other := range before {
		switch {
		case l.Address == other.Address && !strings.HasSuffix(l.Address, ":0"):
			v.add(setting, "%s is the address of %s.listen too: choose another port", l.Address, other.Section)
		case addressesOverlap(l.Address, other.Address):
			v.add(setting, "%s overlaps %s.listen, %s: choose another port", l.Address, other.Section, other.Address)
		}
	}
}

// addressesOverlap reports whether two listen settings take the same port of the same
// address. An unspecified address (0.0.0.0, [::] or none) takes the port of every address
// of both families, since Go listens on both for each of them. Names are not resolved.
func addressesOverlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || strings.HasPrefix(a, "unix:") || strings.HasPrefix(b, "unix:") || portA != portB || portA == "0" {
		return false
	}
	ipA, isA := hostAddress(hostA)
	ipB, isB := hostAddress(hostB)
	return isA && ipA.IsUnspecified() || isB && ipB.IsUnspecified() || isA && isB && ipA == ipB
}

// hostAddress returns the address that a host is written as; no host is an unspecified
// address. ok is false for a name.
func hostAddress(host string) (ip netip.Addr, ok bool) {
	if host == "" {
		return netip.IPv6Unspecified(), true
	}
	ip, err := netip.ParseAddr(host)
	return ip.Unmap(), err == nil
}
