package e2e

import (
	"context"
	"encoding/base64"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"extauthz/e2e/parts"
)

// TestRequestsOfGateways_AreDecided sends calls in the forms that gateways use by their
// source, where the gateway itself is not run: without pseudo-headers or peers, with
// names in upper case, bytes instead of text, and metadata and context extensions of
// others.
func TestRequestsOfGateways_AreDecided(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the service")
	}
	files, err := filepath.Glob("testdata/gateways/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	s := parts.StartService(t, `{default_route: map}`)
	client := authv3.NewAuthorizationClient(dial(t, s))
	k := s.NewKey("--scope", "orders:read")
	for _, file := range files {
		text := readFile(t, file)
		check := func(key string) *authv3.CheckResponse {
			t.Helper()
			var req authv3.CheckRequest
			filled := strings.NewReplacer("KEY64", base64.StdEncoding.EncodeToString([]byte(key)), "KEY", key).Replace(text)
			if err := protojson.Unmarshal([]byte(filled), &req); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			res, err := client.Check(ctx, &req)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			return res
		}

		res := check(k.Key)
		ok := res.GetOkResponse()
		if res.GetStatus().GetCode() != 0 || ok == nil {
			t.Errorf("%s: got %v", file, res)
			continue
		}
		set := map[string]string{}
		for _, h := range ok.GetHeaders() {
			set[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
			// A gateway may learn in two ways that a client's value is replaced.
			if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD || h.GetAppend().GetValue() { //nolint:staticcheck // deprecated, but some gateways read it
				t.Errorf("%s: %s may be appended: %v", file, h.GetHeader().GetKey(), h)
			}
		}
		if set["x-auth-user-id"] != "alice" || set["x-auth-key-id"] != k.ID {
			t.Errorf("%s: the upstream gets %v", file, set)
		}
		removed := ok.GetHeadersToRemove()
		for _, name := range removed { // gateways differ in the order of these two steps
			if _, both := set[name]; both {
				t.Errorf("%s: %s is set and removed", file, name)
			}
		}
		for _, name := range []string{"x-api-key", "x-http-method-override"} {
			if !slices.Contains(removed, name) {
				t.Errorf("%s: %s stays: %v are removed", file, name, removed)
			}
		}
		if !slices.Contains(removed, "x-auth-admin") && !slices.Contains(removed, "x_auth_admin") {
			t.Errorf("%s: a name under the prefix stays: %v are removed", file, removed)
		}

		denied := check(k.Key[:len(k.Key)-1] + "!")
		if denied.GetStatus().GetCode() == 0 || denied.GetDeniedResponse().GetStatus().GetCode() != 401 {
			t.Errorf("%s, with another key: got %v", file, denied)
		}
	}
}
