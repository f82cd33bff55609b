//go:build full

package e2e

import (
	"strconv"
	"testing"

	"extauthz/e2e/parts"
)

// moreFronts are the gateways that take long to build: they are compiled.
func moreFronts() []front {
	return []front{
		exampleFront("caddy-"+parts.CaddyVersion, "Caddyfile", func(t *testing.T, configuration string, port int) { parts.StartNewCaddy(t, configuration, port) }),
		{"traefik", func(t *testing.T, s *parts.Service, upstream string) string {
			port := freePort(t)
			parts.StartTraefik(t, exampleFor(t, "traefik.yaml", s, upstream, port), exampleFor(t, "traefik-dynamic.yaml", s, upstream, port), port)
			return "127.0.0.1:" + strconv.Itoa(port)
		}},
	}
}

// share returns all forgeries.
func share(all []forgery, _, _ int) []forgery { return all }
