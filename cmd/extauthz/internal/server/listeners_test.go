package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/cmd/extauthz/internal/config"
)

// issued is a certificate with its key, in files.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	config.TLS
}

// issue makes a certificate for a name. Without a parent it is self-signed.
func issue(t *testing.T, dir, name string, parent *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	signer, signKey := template, key
	if parent != nil {
		signer, signKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	i := &issued{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		TLS: config.TLS{CertFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+"-key.pem")}}
	write(t, i.CertFile, i.pem)
	write(t, i.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return i
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// shake connects to a server with this configuration, and returns the name in its
// certificate.
func shake(t *testing.T, server *tls.Config, roots *issued, client *issued, version uint16) (string, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "x")
			_ = c.Close()
		}
	}()
	defer func() { _ = l.Close(); <-done }()
	pool := x509.NewCertPool()
	pool.AddCert(roots.cert)
	c := &tls.Config{RootCAs: pool, InsecureSkipVerify: true, MaxVersion: version} // the test itself compares the name
	if client != nil {
		pair, err := tls.LoadX509KeyPair(client.CertFile, client.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	conn, err := tls.Dial("tcp", l.Addr().String(), c)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Read(make([]byte, 1)); err != nil { // with TLS 1.3 a client learns of a refusal only here
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].DNSNames[0], nil
}

func TestTLS_AdmitsNamedClientsAndServesANewCertificate(t *testing.T) {
	dir := t.TempDir()
	authority := issue(t, dir, "authority", nil)
	stranger := issue(t, dir, "stranger", nil)
	server, envoy, other := issue(t, dir, "server", authority), issue(t, dir, "envoy", authority), issue(t, dir, "other", authority)
	server.ClientCAFile, server.AllowedSANs = authority.CertFile, []string{"envoy"}
	files, err := newCertificates(server.TLS, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := files.config()
	if name, err := shake(t, c, authority, envoy, 0); err != nil || name != "server" {
		t.Fatalf("the named client: %q, %v", name, err)
	}
	for what, client := range map[string]*issued{"no certificate": nil, "another name": other, "another authority": stranger} {
		if _, err := shake(t, c, authority, client, 0); err == nil {
			t.Errorf("%s was let in", what)
		}
	}
	if _, err := shake(t, c, authority, envoy, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	next := issue(t, dir, "next", authority)
	// The files are replaced one after the other. In between they don't match.
	for _, step := range []struct{ from, to, served string }{{next.CertFile, server.CertFile, "server"}, {next.KeyFile, server.KeyFile, "next"}} {
		if err := os.Rename(step.from, step.to); err != nil {
			t.Fatal(err)
		}
		if name, err := shake(t, c, authority, envoy, 0); err != nil || name != step.served {
			t.Errorf("after an exchange: %q, %v, want %s", name, err, step.served)
		}
	}
	if err := os.Remove(server.KeyFile); err != nil {
		t.Fatal(err)
	}
	if name, err := shake(t, c, authority, envoy, 0); err != nil || name != "next" {
		t.Errorf("without its file: %q, %v", name, err)
	}
}

func TestTLS_BrokenSetUpStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	good := issue(t, dir, "good", nil)
	write(t, filepath.Join(dir, "junk"), []byte("junk"))
	for name, c := range map[string]config.TLS{
		"no file":      {CertFile: filepath.Join(dir, "none"), KeyFile: good.KeyFile},
		"wrong key":    {CertFile: good.CertFile, KeyFile: issue(t, dir, "wrong", nil).KeyFile},
		"no authority": {CertFile: good.CertFile, KeyFile: good.KeyFile, ClientCAFile: filepath.Join(dir, "junk")},
	} {
		if _, err := newCertificates(c, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if c, err := newCertificates(config.TLS{}, slog.New(slog.DiscardHandler)); c.config() != nil || err != nil {
		t.Errorf("no certificate is plain text: %v, %v", c, err)
	}
}

func TestListeners_AreAllOpenOrNone(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	c := config.Defaults()
	c.GRPC.Listen, c.HTTP.Listen, c.Admin.Listen, c.Ops.Listen = "unix:"+filepath.Join(dir, "g"), "unix:"+filepath.Join(dir, "h"), taken.Addr().String(), taken.Addr().String()
	if _, err := listenAll(c, nil); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Fatalf("want two problems, got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "g")); err == nil {
		t.Error("the first listener was left open")
	}
	// A socket that a killed process left is replaced; one in use is not.
	c.Admin.Listen, c.Ops.Listen = "unix:"+filepath.Join(dir, "a"), "unix:"+filepath.Join(dir, "o")
	first, err := listenAll(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := listenAll(c, nil); err == nil {
		l.close()
		t.Error("sockets in use were taken over")
	}
	for _, l := range []net.Listener{first.grpc, first.http, first.admin, first.ops} {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
	}
	first.close()
	again, err := listenAll(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.close()
}
