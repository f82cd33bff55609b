package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"extauthz/e2e/parts"
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

// TestReload_TriesARefusedConfigurationAgain: what it names, such as a certificate and its
// key, may be written after it.
func TestReload_TriesARefusedConfigurationAgain(t *testing.T) {
	a := parts.NewAuthority(t)
	dir := t.TempDir()
	first, second := a.Issue(t.TempDir(), "localhost"), a.Issue(t.TempDir(), "localhost")
	put := func(from, to string) {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	put(first.CertFile, cert)
	put(first.KeyFile, key)
	text := fmt.Sprintf("http: {tls: {cert_file: %q, key_file: %q}}\n", cert, key)
	s := service(t, text)
	present := func() bool {
		return slices.ContainsFunc(conditionsOf(t, s), func(c condition) bool { return c.Name == "configuration_refused" })
	}
	put(second.KeyFile, key)
	if err := os.WriteFile(s.Configuration, []byte(text+"log: {level: debug}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if !present() {
			return errors.New("a pair that does not match is not refused")
		}
		return nil
	})
	put(second.CertFile, cert)
	eventually(t, func() error {
		if present() {
			return errors.New("the configuration is not tried again")
		}
		return nil
	})
	if n := strings.Count(s.Log(), "configuration was not reloaded"); n != 1 {
		t.Errorf("one refusal is logged %d times", n)
	}
	if !strings.Contains(s.Log(), `"changed":["log.level"]`) {
		t.Error("what the refused file changed is not in effect")
	}
}

// TestReload_IsCompleteOrReportsTheRest: what can be taken over is in effect, and of
// what needs a restart nothing is.
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
