package parts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates for a test.
type Authority struct {
	Pool   *x509.CertPool
	CAFile string

	tb   testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	n    int64
}

// NewAuthority makes an authority that is valid for a day.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	return NewAuthorityFor(tb, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
}

// NewAuthorityFor makes an authority that is valid from one time to another.
func NewAuthorityFor(tb testing.TB, from, to time.Time) *Authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	a := &Authority{Pool: x509.NewCertPool(), CAFile: filepath.Join(tb.TempDir(), "ca.pem"), tb: tb, key: key, n: 1}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	a.Pool.AddCert(a.cert)
	a.write(a.CAFile, "CERTIFICATE", der)
	return a
}

// Issue writes a new certificate for 127.0.0.1 and these DNS names, valid for servers and
// clients, and its key into a folder, each by a rename. The serial number is one more
// than the last.
func (a *Authority) Issue(dir string, names ...string) Certificates {
	a.tb.Helper()
	return a.IssueFor(dir, a.cert.NotBefore, a.cert.NotAfter, names...)
}

// IssueFor is Issue with the time range in which the certificate is valid.
func (a *Authority) IssueFor(dir string, from, to time.Time, names ...string) Certificates {
	a.tb.Helper()
	return a.issue(dir, x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: names, NotBefore: from, NotAfter: to})
}

// issue signs a certificate with the subject, names and times of a template.
func (a *Authority) issue(dir string, template x509.Certificate) Certificates {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	a.n++
	template.SerialNumber, template.KeyUsage = big.NewInt(a.n), x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, key.Public(), a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.tb.Fatal(err)
	}
	c := Certificates{Pool: a.Pool, CAFile: a.CAFile, CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	a.write(c.CertFile, "CERTIFICATE", der)
	a.write(c.KeyFile, "PRIVATE KEY", keyDER)
	return c
}

func (a *Authority) write(path, kind string, der []byte) {
	a.tb.Helper()
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		a.tb.Fatal(err)
	}
}

// Certificates are an authority and a certificate that it signed.
type Certificates struct {
	Pool                      *x509.CertPool
	CAFile, CertFile, KeyFile string
}

// NewCertificates makes an authority and a certificate for a test.
func NewCertificates(tb testing.TB) Certificates {
	tb.Helper()
	return NewAuthority(tb).Issue(tb.TempDir(), "localhost")
}
