package authz

import (
	"net/netip"
	"strings"
)

const maxHostLength = 253 // RFC 1035, 2.3.4, as text

// CanonicalHost returns the authority in the form that rules use: lower case, without the
// port and without one trailing dot. Anything but a plain host name or address is refused
// (ok false): a rule for that host would not match it, and a weaker rule would decide. An
// empty authority (HTTP/1.0) is the empty host.
func CanonicalHost(authority string) (host string, ok bool) {
	if authority == "" {
		return "", true
	}
	host, port, hasPort := authority, "", false
	if authority[0] == '[' {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return "", false
		}
		host = authority[:end+1]
		if rest := authority[end+1:]; rest != "" {
			if rest[0] != ':' {
				return "", false
			}
			port, hasPort = rest[1:], true
		}
		addr, err := netip.ParseAddr(host[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", false
		}
		var text [len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")]byte
		if plain := addr.AppendTo(text[:0]); string(plain) != host[1:end] {
			host = "[" + string(plain) + "]"
		}
		return host, !hasPort || validPort(port)
	}
	host, port, hasPort = strings.Cut(authority, ":")
	if hasPort && !validPort(port) {
		return "", false
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > maxHostLength {
		return "", false
	}
	for i := range len(host) {
		c := host[i]
		switch {
		case c == '.':
			if i == 0 || host[i-1] == '.' || i == len(host)-1 {
				return "", false
			}
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return "", false
		}
	}
	return strings.ToLower(host), true
}

func validPort(port string) bool {
	if port == "" || len(port) > 5 {
		return false
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
		n = n*10 + int(port[i]-'0')
	}
	return n > 0 && n <= 65535
}
