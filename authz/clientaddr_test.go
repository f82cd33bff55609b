package authz

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestExplain_NamesTheAddressThatNetworksRefuse: the explanation distinguishes an address
// outside the key's networks from an unknown one, since the remedies differ.
func TestExplain_NamesTheAddressThatNetworksRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		hops int
		want string
	}{
		"outside":   {0, "192.0.2.7 is in none of the key's networks: [10.0.0.0/8]"},
		"not known": {2, "client_address.trusted_hops is 2, and x-forwarded-for has no address there"},
	} {
		a, key := authorizer(t, func(cfg *Config, r *Record, _ *keys) {
			cfg.ClientAddress = ClientAddress{c.hops, "x-forwarded-for"}
			r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		req := get("/orders", Header{Name: "x-api-key", Value: key})
		req.Peer = netip.MustParseAddr("192.0.2.7")
		d, steps, err := a.Explain(t.Context(), req)
		if last := steps[len(steps)-1]; err != nil || !strings.Contains(fmt.Sprint(last), c.want) {
			t.Errorf("%s: explained as %+v, %v; want %q", name, last, err, c.want)
		}
		if known := c.hops == 0; d.Client.IsValid() != known || known && d.Client != req.Peer {
			t.Errorf("%s: the decision's client is %v", name, d.Client)
		}
	}
}
