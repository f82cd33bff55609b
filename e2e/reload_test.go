package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReload_SeesAConfigMapsSwap: the file is a link to ..data/NAME, and ..data is a link
// to a folder that is replaced, as Kubernetes updates ConfigMaps and Secrets. No signal
// is sent.
func TestReload_SeesAConfigMapsSwap(t *testing.T) {
	s := service(t, ``)
	check := reasonOf(checker(t, s))
	dir, name := filepath.Split(s.Configuration)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	version := 0
	swap := func(text string) {
		t.Helper()
		version++
		folder := fmt.Sprint("..v", version)
		must(os.Mkdir(filepath.Join(dir, folder), 0o700))
		must(os.WriteFile(filepath.Join(dir, folder, name), []byte(text), 0o600))
		must(os.Symlink(folder, filepath.Join(dir, "..data_tmp")))
		must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	holds := func(path, reason string) {
		t.Helper()
		eventually(t, func() error {
			if got := check(path, "x"); got != reason {
				return errors.New(path + ": " + got + " instead of " + reason)
			}
			return nil
		})
	}
	swap(`routes: [{match: "/one", anonymous: true}]`)
	must(os.Symlink(filepath.Join("..data", name), s.Configuration+".tmp"))
	must(os.Rename(s.Configuration+".tmp", s.Configuration))
	holds("/one", "anonymous")

	swap(`routes: [{match: "/two", anonymous: true}]`)
	holds("/two", "anonymous")
	holds("/one", "malformed_key")

	swap(`routes: [{match: "/three"}]`)
	eventually(t, func() error {
		metrics := get(t, "http://"+s.Ops+"/metrics")
		return errors.Join(contains(state(t, s), "name a resource", nil), contains(metrics, "extauthz_config_last_reload_successful 0", nil))
	})
	holds("/two", "anonymous")
	if n := strings.Count(s.Log(), "configuration was not reloaded"); n != 1 {
		t.Errorf("a bad file is logged %d times", n)
	}

	swap(`routes: [{match: "/four", anonymous: true}]`)
	holds("/four", "anonymous")
	if err := contains(get(t, "http://"+s.Ops+"/metrics"), "extauthz_config_last_reload_successful 1", nil); err != nil {
		t.Error(err)
	}
	s.Stop()
}

// TestReload_IsCompleteOrReportsTheRest: all settings that can be reloaded take effect,
// and none of those that need a restart.
func TestReload_IsCompleteOrReportsTheRest(t *testing.T) {
	s := service(t, ``)
	check := checker(t, s)
	k := s.NewKey("--scope", "orders:read")
	if got := reason(check("/orders", k.Key)); got != "granted" || strings.Contains(s.Log(), `"msg":"allowed"`) {
		t.Fatalf("got %s", got)
	}
	text := `{log: {sample_allowed: 1}, keys: {brand: other}, identity: {header_prefix: x-id-}, debug_headers: true, default_route: authenticated}`
	if err := os.WriteFile(s.Configuration, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := reason(check("/anything", k.Key)); got != "granted" {
			return errors.New("the old configuration holds: " + got)
		}
		return nil
	})
	names := map[string]bool{}
	for _, h := range check("/anything", k.Key).GetOkResponse().GetHeaders() {
		names[h.GetHeader().GetKey()] = true
	}
	if !names["x-id-user-id"] || names["x-auth-user-id"] {
		t.Errorf("identity is sent as %v", names)
	}
	if log := s.Log(); !strings.Contains(log, `"msg":"allowed"`) || !strings.Contains(log, `"settings":["keys.brand"]`) {
		t.Errorf("the log has neither what is allowed nor what needs a restart: %s", log)
	}
	if made := s.NewKey("--scope", "orders:read"); !strings.HasPrefix(made.Key, "ak_live_") {
		t.Error("keys are made in a form that is not verified yet")
	}
}
