package config

import "testing"

func TestAddressesOverlap_UnspecifiedTakesEveryAddress(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:9001", "0.0.0.0:9001", true},
		{"127.0.0.1:9001", "[::]:9001", true},
		{"127.0.0.1:9001", ":9001", true},
		{"[::1]:9001", "[::]:9001", true},
		{"[::1]:9001", "0.0.0.0:9001", true},
		{"0.0.0.0:9001", "[::]:9001", true},
		{"0.0.0.0:9001", ":9001", true},
		{"localhost:9001", "0.0.0.0:9001", true},
		{"[::ffff:127.0.0.1]:9001", "127.0.0.1:9001", true},
		{"[0:0::1]:9001", "[::1]:9001", true},
		{"127.0.0.1:9001", "0.0.0.0:9002", false},
		{"127.0.0.1:9001", "127.0.0.2:9001", false},
		{"127.0.0.1:9001", "[::1]:9001", false},
		{"10.0.0.1:9001", "example.com:9001", false},
		{"127.0.0.1:0", "0.0.0.0:0", false},
		{"unix:/run/a:9001", "0.0.0.0:9001", false},
	} {
		if addressesOverlap(c.a, c.b) != c.want || addressesOverlap(c.b, c.a) != c.want {
			t.Errorf("%s and %s: want %t", c.a, c.b, c.want)
		}
	}
}
