//go:build full

package e2e

import (
	"testing"

	"extauthz/e2e/parts"
)

func init() { //nolint:gochecknoinits // the build tag adds a proxy
	moreProxies["traefik"] = proxy{problems: true, start: func(t *testing.T, example func(string) string, port int) {
		parts.StartTraefik(t, example("traefik.yaml"), example("traefik-dynamic.yaml"), port)
	}}
}
