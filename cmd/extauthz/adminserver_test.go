package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// roleServer starts a server on l that answers every call with an empty list of roles.
func roleServer(t *testing.T, l net.Listener, secure bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token" {
			t.Errorf("%s came without the token", r.URL)
		}
		_, _ = w.Write([]byte(`{"items":[]}`))
	}))
	if l != nil {
		_ = s.Listener.Close()
		s.Listener = l
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// TestAdminServer_IsTheServersOwnListener: the command line finds the API at the address
// in serve's own configuration, whether a file or the environment sets it, and whether it
// is a port or a socket.
func TestAdminServer_IsTheServersOwnListener(t *testing.T) {
	t.Setenv("EXTAUTHZ_TOKEN", "token")
	t.Setenv("EXTAUTHZ_SERVER", "")
	folder := t.TempDir()
	t.Chdir(folder)
	list := func(t *testing.T, args ...string) {
		t.Helper()
		if said, err := run(t, append(args, "roles", "list")...); err != nil {
			t.Errorf("%v: %s", err, said)
		}
	}
	configure := func(t *testing.T, text string) {
		t.Helper()
		if err := os.WriteFile("extauthz.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tcp := strings.TrimPrefix(roleServer(t, nil, false).URL, "http://")
	socket := filepath.Join(folder, "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	roleServer(t, l, false)

	t.Run("file", func(t *testing.T) {
		configure(t, "admin: {listen: '"+tcp+"'}\n")
		list(t)
	})
	t.Run("every interface", func(t *testing.T) {
		_, port, err := net.SplitHostPort(tcp)
		if err != nil {
			t.Fatal(err)
		}
		configure(t, "admin: {listen: ':"+port+"'}\n")
		list(t)
		configure(t, "admin: {listen: '0.0.0.0:"+port+"'}\n")
		list(t)
	})
	t.Run("faults of other sections", func(t *testing.T) {
		configure(t, "admin: {listen: '"+tcp+"'}\ndatabase: {driver: none}\n")
		list(t)
	})
	t.Run("socket", func(t *testing.T) {
		configure(t, "admin: {listen: 'unix:"+socket+"'}\n")
		list(t)
	})
	t.Run("environment", func(t *testing.T) {
		configure(t, "admin: {listen: '127.0.0.1:1'}\n")
		t.Setenv("EXTAUTHZ_ADMIN__LISTEN", "unix:"+socket)
		list(t)
	})
	t.Run("flag", func(t *testing.T) {
		configure(t, "admin: {listen: '127.0.0.1:1'}\n")
		list(t, "--server", "http://"+tcp)
		list(t, "--server", "unix:"+socket)
	})
	t.Run("nothing there", func(t *testing.T) {
		configure(t, "admin: {listen: 'unix:"+filepath.Join(folder, "none.sock")+"'}\n")
		if _, err := run(t, "roles", "list"); err == nil || !strings.Contains(err.Error(), "no server at unix:") {
			t.Error(err)
		}
		configure(t, "admin: {listen: nowhere}\n")
		if _, err := run(t, "roles", "list"); err == nil || !strings.Contains(err.Error(), "admin.listen") {
			t.Error(err)
		}
	})
}

// TestAdminServer_TrustsOnlyItsOwnCertificate: another server that listens on the
// configured address does not get the administrator's key.
func TestAdminServer_TrustsOnlyItsOwnCertificate(t *testing.T) {
	t.Setenv("EXTAUTHZ_TOKEN", "token")
	t.Setenv("EXTAUTHZ_SERVER", "")
	t.Chdir(t.TempDir())
	s := roleServer(t, nil, true)
	t.Setenv("EXTAUTHZ_ADMIN__LISTEN", strings.TrimPrefix(s.URL, "https://"))
	pair := s.TLS.Certificates[0]
	writePair(t, pair.Certificate[0], pair.PrivateKey)
	t.Setenv("EXTAUTHZ_ADMIN__TLS__CERT_FILE", "cert.pem")
	t.Setenv("EXTAUTHZ_ADMIN__TLS__KEY_FILE", "key.pem")
	if said, err := run(t, "roles", "list"); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, der, key)
	if _, err := run(t, "roles", "list"); err == nil || !strings.Contains(err.Error(), "admin.tls.cert_file") || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

// writePair writes a certificate and its private key.
func writePair(t *testing.T, der []byte, private any) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
