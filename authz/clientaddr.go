package authz

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ClientAddress defines how the client's address is found.
type ClientAddress struct {
	TrustedHops int    // 0: the TCP peer, the header is ignored
	Header      string // lower case, such as "x-forwarded-for"
}

// Find returns the client's address. With n trusted hops it is the nth entry from the
// right, counted over all lines of the header: each trusted proxy appended one entry, and
// the client wrote those further left. ok is false if there are fewer than n entries, or
// if the nth is not an address. Keys that are limited to networks are then refused.
func (c ClientAddress) Find(peer netip.Addr, headers []Header) (addr netip.Addr, ok bool) {
	if c.TrustedHops == 0 {
		return peer.Unmap(), peer.IsValid()
	}
	left := c.TrustedHops
	for i := len(headers) - 1; i >= 0; i-- {
		if headers[i].Name != c.Header {
			continue
		}
		for rest := headers[i].Value; ; {
			comma := strings.LastIndexByte(rest, ',')
			if left--; left == 0 {
				return parseClient(strings.Trim(rest[comma+1:], " \t"))
			}
			if comma < 0 {
				break
			}
			rest = rest[:comma]
		}
	}
	return netip.Addr{}, false
}

// unknown explains why Find found no address.
func (c ClientAddress) unknown() string {
	if c.TrustedHops == 0 {
		return "the gateway sent none"
	}
	return fmt.Sprintf("client_address.trusted_hops is %d, and %s has no address there", c.TrustedHops, c.Header)
}

// parseClient parses an address as proxies write it: bare, in brackets, or with a
// port.
func parseClient(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = ap.Addr()
	}
	if addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// ParseNetwork reads a network, as it is written, or a single address as the network of
// that address alone.
func ParseNetwork(text string) (netip.Prefix, error) {
	n, err := netip.ParsePrefix(text)
	if addr, bare := netip.ParseAddr(text); err != nil && bare == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return n, err
}

// ParseCIDRs reads networks ("10.0.0.0/8") and single addresses, and reports
// every bad one at once.
func ParseCIDRs(texts []string) ([]netip.Prefix, error) {
	var problems []error
	out := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		n, err := ParseNetwork(text)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("network %q: write an address or a network, such as 10.0.0.0/8 or 2001:db8::/32", text))
			continue
		case n.Addr().Is4In6():
			if n.Bits() < 96 {
				problems = append(problems, fmt.Errorf("network %q: write it as IPv4", text))
				continue
			}
			n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
		}
		if n != n.Masked() {
			problems = append(problems, fmt.Errorf("network %q has bits beyond its length: write %s", text, n.Masked()))
			continue
		}
		out = append(out, n)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return out, nil
}
