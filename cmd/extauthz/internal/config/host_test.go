package config

import "testing"

// TestHostPort_TakesWhatCanBeLookedUp: with any other host serve would end or never
// answer.
func TestHostPort_TakesWhatCanBeLookedUp(t *testing.T) {
	for _, good := range []string{":80", "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "[::ffff:10.0.0.1]:80", "localhost:80", "redis_1:80", "a-b.example.com.:80", "1.example:80", "xn--bcher-kva.example:80"} {
		if err := hostPort(good, 0); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"*:80", "256.1.1.1:80", "1.2.3:80", "a..b:80", ".a:80", "a b:80", "a/b:80", "bücher.example:80", "[::1%]:80", "a\x00:80", "h:http", "h:-1", "h:65536", "h"} {
		if err := hostPort(bad, 0); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
