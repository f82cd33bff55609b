package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const geheim = "geheim-und-lang-genug-fuer-pepper"

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // regardless of the umask
		t.Fatal(err)
	}
	return path
}

// TestKeepSecret_IsAtomic: of many writers to one path, exactly one succeeds. A reader
// finds neither a part of a secret nor any other file in the folder.
func TestKeepSecret_IsAtomic(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "admin.key")
	secret := func(i int) string { return strings.Repeat(string(rune('a'+i)), 4096) }
	var kept atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			switch err := KeepSecret(path, secret(i), 0o600); {
			case err == nil:
				kept.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
			text, err := os.ReadFile(path)
			if err != nil || len(text) != 4096 || string(text) != secret(int(text[0]-'a')) {
				t.Errorf("found %d bytes, %v", len(text), err)
			}
		})
	}
	all.Wait()
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 1 || kept.Load() != 1 {
		t.Errorf("%d were kept, files %v, %v", kept.Load(), files, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

func TestSecrets_AreReadFromTheirFiles(t *testing.T) {
	dsn := write(t, "postgres://u:"+geheim+"@h/d\n", 0o400)
	secret := write(t, geheim+"\r\n", 0o600)
	c := load(t, fmt.Sprintf(`
database: {driver: postgres, dsn_file: %[1]s, listen_dsn_file: %[1]s}
cache: {redis: {password_file: %[2]s, sentinel_password_file: %[2]s}, sealing_key_file: %[2]s}
keys: {pepper_files: [%[2]s]}
`, dsn, secret))
	for _, got := range []string{c.Database.DSN.Reveal(), c.Database.ListenDSN.Reveal()} {
		if got != "postgres://u:"+geheim+"@h/d" {
			t.Errorf("data source has %d bytes", len(got))
		}
	}
	if c.Cache.Redis.Password.Reveal() != geheim || c.Cache.Redis.SentinelPassword.Reveal() != geheim {
		t.Error("passwords were not read without their line end")
	}
	if p, err := c.Peppers(); err != nil || p == nil {
		t.Errorf("Peppers: %v", err)
	}
	for _, w := range c.Warnings(testNow) {
		if strings.Contains(w, "chmod") {
			t.Errorf("private files warn: %s", w)
		}
	}
}

func TestSecrets_PepperMayEndInALineEnd(t *testing.T) {
	raw := strings.Repeat("x", 31) + "\n"
	load(t, "keys: {pepper_files: ["+write(t, raw, 0o600)+"]}")
}

func TestSecrets_BadFileIsOneLine(t *testing.T) {
	full, short, empty := write(t, geheim, 0o600), write(t, "short", 0o600), write(t, " \n", 0o600)
	for _, c := range []struct{ text, want string }{
		{"database: {driver: postgres, dsn: 'postgres://h', dsn_file: " + full + "}", "database.dsn and database.dsn_file are both set: remove one"},
		{"database: {driver: postgres, dsn: 'postgres://u:x@h/d', password_file: " + full + "}", "database.password_file: is set, and database.dsn holds a password too"},
		{"database: {driver: postgres, dsn: 'host=h password=x', password_command: [a]}", "database.password_command: is set, and database.dsn holds a password too"},
		{"database: {driver: postgres, dsn: 'postgres://u@h/d', password_command: [a], password_file: " + full + "}", "database.password_command: and database.password_file are both set"},
		{"database: {driver: postgres, dsn: 'postgres://u@h/d', password_command: ['aws rds token']}", "no shell splits it"},
		{"database: {driver: postgres, dsn: 'postgres://u@h/d', password_command: ['']}", "database.password_command: names no program"},
		{"database: {password_command: [a]}", "database.password_command: is for postgres only"},
		{"database: {driver: postgres, dsn: 'postgres://u@h/d', password_file: /none/b}", "database.password_file: /none/b can't be read"},
		{"cache: {redis: {password: x, password_command: [a]}}", "cache.redis.password_command: and cache.redis.password are both set"},
		{"database: {connect_timeout: 10ms}", "database.connect_timeout: 10ms is too small"},
		{"cache: {redis: {password: x, password_file: " + full + "}}", "cache.redis.password and cache.redis.password_file are both set"},
		{"cache: {redis: {password_file: " + empty + "}}", "x.yaml:1: cache.redis.password_file: " + empty + " is empty: write the secret into it"},
		{"database: {driver: postgres, dsn_file: /none/a}", "database.dsn_file: /none/a can't be read: no such file or directory"},
		{"cache: {redis: {password_file: " + t.TempDir() + "}}", "can't be read: is a directory"},
		{"cache: {sealing_key_file: " + short + "}", "cache.sealing_key_file: " + short + " holds less than 32 bytes"},
		{"keys: {pepper_files: [" + short + "]}", "keys.pepper_files: " + short + ": pepper has 5 bytes"},
		{"keys: {pepper_files: [" + full + ", " + full + "]}", "twice"},
	} {
		got := problems(t, c.text)
		if len(got) != 1 || !strings.Contains(got[0], c.want) || strings.Contains(got[0], geheim) {
			t.Errorf("%s\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

// TestBootstrapKey_IsNoReasonNotToStart: a bad file causes a warning only, because checks
// need no administrator.
func TestBootstrapKey_IsNoReasonNotToStart(t *testing.T) {
	for path, want := range map[string]string{
		"/none/a":                     "x.yaml:1: admin.bootstrap_key_file: /none/a can't be read",
		t.TempDir():                   "is a directory",
		write(t, geheim, 0o600):       "holds no key of the form ak_live_",
		write(t, "", 0o600):           "is empty",
		write(t, "\x00\xff\n", 0o600): "holds no key of the form ak_live_",
	} {
		warned := strings.Join(load(t, "admin: {bootstrap_key_file: '"+path+"'}").Warnings(time.Now()), "\n")
		if !strings.Contains(warned, want) || !strings.Contains(warned, "starts without it") || strings.Contains(warned, geheim) {
			t.Errorf("%s: %q", path, warned)
		}
	}
}

// TestLoad_NeedsSomeSections: faults of sections that a command does not use do not stop
// it.
func TestLoad_NeedsSomeSections(t *testing.T) {
	read := func(text string) error {
		_, err := Load(Options{Path: write(t, text, 0o600), Explicit: true, Needs: []string{"database", "keys"}})
		return err
	}
	if err := read("grpc: {listen: x, tls: {cert_file: /none}}\nroutes: [{match: x}]\ncache: {sealing_key_file: /none}"); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"database: {driver: oracle}", "keys: {pepper_files: [/none]}", "keys: 1", "{", "database: {dsn: [x]}"} {
		if err := read(text); err == nil {
			t.Errorf("%s is valid", text)
		}
	}
}

func TestBootstrapKey_MustBeAKey(t *testing.T) {
	f, err := Defaults().KeyFormat()
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := f.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, "admin: {bootstrap_key_file: "+write(t, key.Reveal()+"\n", 0o600)+"}")
	if got, err := c.BootstrapKey(); err != nil || got.Reveal() != key.Reveal() {
		t.Errorf("BootstrapKey: %v", err)
	}
}

func TestPrint_HidesSecrets(t *testing.T) {
	c := load(t, "database: {driver: postgres, dsn: 'postgres://u:"+geheim+"@db.example.com/d'}\ncache: {redis: {password: "+geheim+"}}")
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "postgres://u:***@db.example.com/d") || !strings.Contains(out.String(), `password: '***'`) {
		t.Errorf("not masked:\n%s", out.String())
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", c, "redis", c.Cache.Redis)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	hidden := struct{ c Config }{*c}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&out, verb, c)
		fmt.Fprintf(&out, verb, hidden)
		fmt.Fprintf(&out, verb, c.Database.DSN)
	}
	if strings.Contains(out.String(), geheim) || strings.Contains(out.String(), fmt.Sprintf("%x", geheim)) {
		t.Error("a secret was printed")
	}
}

func TestPrint_HidesPasswordsOfDataSources(t *testing.T) {
	for dsn, want := range map[string]string{
		"data/extauthz.db": "data/extauthz.db",
		"postgres://u:p@h:5432/d?sslmode=verify-full":    "postgres://u:***@h:5432/d?sslmode=verify-full",
		"postgres://h/d?user=u&password=p&sslpassword=q": "postgres://h/d?user=u&password=***&sslpassword=***",
		"host=h user=u password='p q\\' r' dbname=d":     "host=h user=u password=*** dbname=d",
		"host=h password = p":                            "host=h password = ***",
		"postgres://u:p/q@h/d":                           "***",
		"postgres://u:1/q@h/d":                           "***",
		"postgres://u:1?q@h/d":                           "***",
		"postgres://u:p%zz@h/d":                          "***",
		"postgres://u:p?x@h/d":                           "***",
		"postgres://u:p@h1:1,h2:2/d":                     "postgres://u:***@h1:1,h2:2/d",
		"postgres://u:a@b@h/d":                           "postgres://u:***@h/d",
	} {
		if got := NewDSN(dsn).Masked(); got != want {
			t.Errorf("%s is shown as %s, want %s", dsn, got, want)
		}
	}
}

func TestWarnings_PublicSecretFile(t *testing.T) {
	path := write(t, geheim, 0o644)
	for _, text := range []string{
		"cache: {redis: {password_file: " + path + "}}", "keys: {pepper_files: [" + path + "]}", "cache: {sealing_key_file: " + path + "}",
	} {
		if w := strings.Join(load(t, text).Warnings(testNow), "\n"); !strings.Contains(w, path+" can be read by every user of this machine") {
			t.Errorf("%s: warnings %q", text, w)
		}
	}
}

func TestTLS_FilesMustLoad(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
	private := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), 0o600)
	c := load(t, fmt.Sprintf("grpc: {tls: {cert_file: %s, key_file: %s, client_ca_file: %[1]s, allowed_sans: [envoy]}}", cert, private))
	if !c.GRPC.TLS.Enabled() || c.Admin.TLS.Enabled() {
		t.Error("TLS is on where it was not asked for, or off")
	}
	for text, want := range map[string]string{
		fmt.Sprintf("grpc: {tls: {cert_file: %s, key_file: %s}}", cert, cert):                            "grpc.tls: certificate and key don't load",
		fmt.Sprintf("admin: {tls: {cert_file: %s, key_file: %s, client_ca_file: %[2]s}}", cert, private): "admin.tls.client_ca_file: " + private + " holds no PEM certificate",
		fmt.Sprintf("admin: {tls: {cert_file: %s, key_file: %s, allowed_sans: [a]}}", cert, private):     "admin.tls.allowed_sans: needs admin.tls.client_ca_file",
		"cache: {redis: {tls: {enabled: true, ca_file: /none/a}}}":                                       "cache.redis.tls.ca_file: /none/a can't be read",
		"cache: {redis: {tls: {server_name: a}}}":                                                        "cache.redis.tls.enabled: is false",
	} {
		if got := problems(t, text); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
