//go:build full

package e2e

import (
	"testing"

	"extauthz/e2e/parts"
)

// moreProxies returns the proxies that take long to build: they are compiled.
func moreProxies() map[string]proxy {
	return map[string]proxy{"caddy-" + parts.CaddyVersion: {problems: true, start: func(t *testing.T, example func(string) string, port int) {
		parts.StartNewCaddy(t, example("Caddyfile"), port)
	}}, "traefik": {problems: true, start: func(t *testing.T, example func(string) string, port int) {
		parts.StartTraefik(t, example("traefik.yaml"), example("traefik-dynamic.yaml"), port)
	}}}
}
