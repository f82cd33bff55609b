package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// signedRelease returns a folder with one file, its checksums and their signatures. It
// also returns the path of the public key, and the key.
func signedRelease(t *testing.T) (folder, publicKey string, key *ecdsa.PrivateKey) {
	t.Helper()
	folder = t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicKey = filepath.Join(t.TempDir(), "extauthz.pub")
	writeFile(t, publicKey, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	writeFile(t, filepath.Join(folder, "extauthz_1.2.3_linux_amd64.tar.gz"), []byte("archive"))
	if err := checksums(folder); err != nil {
		t.Fatal(err)
	}
	if err := sign(folder, key); err != nil {
		t.Fatal(err)
	}
	return folder, publicKey, key
}

func writeFile(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// verifies runs a documented check in a release's folder, as a user does: it must
// succeed. Then it changes one byte in each of the files in turn, and the check must
// fail.
func verifies(t *testing.T, folder string, changed []string, program string, args ...string) {
	t.Helper()
	check := func() ([]byte, error) {
		c := exec.Command(program, args...)
		c.Dir = folder
		c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		return c.CombinedOutput()
	}
	if said, err := check(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, said)
	}
	for _, name := range changed {
		path := filepath.Join(folder, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		altered := bytes.Clone(text)
		altered[len(altered)-2] ^= 1
		writeFile(t, path, altered)
		if said, err := check(); err == nil {
			t.Errorf("%s accepts a release in which %s was changed: %s", program, name, said)
		}
		writeFile(t, path, text)
	}
}

func TestSign_OpensslVerifiesAndSeesAChangedByte(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		parts.Missing(t, err)
	}
	folder, publicKey, _ := signedRelease(t)
	verifies(t, folder, []string{sumsFile, signatureFile}, openssl, "dgst", "-sha256", "-verify", publicKey, "-signature", signatureFile, sumsFile)
	verifies(t, folder, []string{sumsFile, "extauthz_1.2.3_linux_amd64.tar.gz"}, "sha256sum", "--check", "--strict", sumsFile)
	_, other, _ := signedRelease(t)
	if said, err := exec.Command(openssl, "dgst", "-sha256", "-verify", other, "-signature", filepath.Join(folder, signatureFile), filepath.Join(folder, sumsFile)).CombinedOutput(); err == nil {
		t.Errorf("another key verifies it: %s", said)
	}
}

// TestSign_SameKeySameBytes: so a release that is made again can be compared as a whole.
func TestSign_SameKeySameBytes(t *testing.T) {
	folder, _, key := signedRelease(t)
	for _, name := range []string{signatureFile, bundleFile} {
		before, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := sign(folder, key); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s has other bytes the second time: %v", name, err)
		}
	}
}

func TestSigningKey_ReadsOpensslsFormsAndRefusesOthersInOneLine(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key *ecdsa.PrivateKey) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 1, 1}})
	for name, c := range map[string]struct {
		text    []byte
		refused string
	}{
		"PKCS #8":   {pkcs8(p256), ""},
		"SEC 1":     {append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...), ""},
		"P-384":     {pkcs8(p384), "no key on P-256"},
		"encrypted": {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")}), "/dev/stdin"},
		"damaged":   {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "asn1"},
		"text":      {[]byte("no key"), "openssl genpkey"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			writeFile(t, path, c.text)
			key, err := signingKey(path)
			if c.refused == "" && (err != nil || !key.Equal(p256)) {
				t.Error(err)
			}
			if c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got %v, want %q", err, c.refused)
			}
		})
	}
}
