package keyring_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func TestFields_HaveLimits(t *testing.T) {
	b := newBench(t)
	entries := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("k", i)] = ""
		}
		return m
	}
	many := func(n int) []string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("r", i)
		}
		return names
	}
	for _, name := range many(32) {
		must(b.keys.CreateRole(t.Context(), system, authz.Role{Name: name}))(t)
	}
	networks := func(n int) []netip.Prefix {
		all := make([]netip.Prefix, n)
		for i := range all {
			all[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)
		}
		return all
	}
	key := b.create(keyring.CreateRequest{}).Key.Reveal()
	type request = keyring.CreateRequest
	for _, c := range []struct {
		name string
		r    request
		bad  string // the invalid field, if there is one
	}{
		{"user of 256 bytes", request{UserID: strings.Repeat("x", 256)}, ""},
		{"user of 257 bytes", request{UserID: strings.Repeat("x", 257)}, "user_id"},
		{"user not UTF-8", request{UserID: "a\xff"}, "user_id"},
		{"user with a line end", request{UserID: "a\r\nx-evil: 1"}, "user_id"},
		{"user with a zero width space", request{UserID: "a\u200b"}, "user_id"},
		{"user that is a key", request{UserID: key}, "user_id"},
		{"name of 200 characters", request{Name: strings.Repeat("ß", 200)}, ""},
		{"name of 201 characters", request{Name: strings.Repeat("ß", 201)}, "name"},
		{"name of a joined emoji", request{Name: "👩‍🚀 key"}, ""},
		{"name of spaces", request{Name: "  "}, "name"},
		{"name that turns the line", request{Name: "a\u202eb"}, "name"},
		{"name that is a key", request{Name: " " + key}, "name"},
		{"32 entries of metadata", request{Metadata: entries(32)}, ""},
		{"33 entries of metadata", request{Metadata: entries(33)}, "metadata"},
		{"metadata of 1024 bytes", request{Metadata: map[string]string{"k": strings.Repeat("x", 1024)}}, ""},
		{"metadata of 1025 bytes", request{Metadata: map[string]string{"k": strings.Repeat("x", 1025)}}, "metadata.k"},
		{"metadata with a control", request{Metadata: map[string]string{"k": "a\u0085"}}, "metadata.k"},
		{"metadata that is a key", request{Metadata: map[string]string{"k": key}}, "metadata.k"},
		{"metadata name of 64", request{Metadata: map[string]string{strings.Repeat("k", 64): ""}}, "metadata"},
		{"100 networks", request{AllowedCIDRs: networks(100)}, ""},
		{"101 networks", request{AllowedCIDRs: networks(101)}, "allowed_cidrs"},
		{"network half IPv4", request{AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/90")}}, "allowed_cidrs[0]"},
		{"32 roles", request{Roles: many(32)}, ""},
		{"33 roles", request{Roles: many(33)}, "roles"},
		{"project of 63", request{Project: strings.Repeat("p", 63)}, ""},
		{"project of 64", request{Project: strings.Repeat("p", 64)}, "project"},
		{"rate without period", request{Rate: authz.Rate{Count: 3}}, "rate"},
		{"expiry this very moment", request{ExpiresAt: b.now}, "expires_at"},
		{"expiry in a microsecond", request{ExpiresAt: b.now.Add(time.Microsecond)}, ""},
		{"idempotency key of 256 bytes", request{IdempotencyKey: strings.Repeat("i", 256)}, "idempotency_key"},
	} {
		if c.r.UserID == "" {
			c.r.UserID = "u"
		}
		if c.r.Name == "" {
			c.r.Name = "n"
		}
		_, err := b.keys.Create(t.Context(), system, c.r)
		var invalid *keyring.ValidationError
		errors.As(err, &invalid)
		switch {
		case c.bad == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.bad != "" && (invalid == nil || len(invalid.Fields) != 1 || invalid.Fields[0].Field != c.bad):
			t.Errorf("%s: %v, want a problem of %s alone", c.name, err, c.bad)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error(), key)) {
			t.Errorf("%s: the error %q is no single line without keys", c.name, err)
		}
	}
}
