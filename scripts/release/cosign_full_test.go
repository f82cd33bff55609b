//go:build full

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"extauthz/e2e/parts"
)

// cosignPath returns the path where scripts/install-parts.sh puts cosign. Each version of
// its go.mod has a folder of its own.
func cosignPath(t *testing.T) string {
	t.Helper()
	module, err := os.ReadFile("../../tools/cosign/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "extauthz/cosign", fmt.Sprintf("%x", sha256.Sum256(module))[:12], "cosign")
	if _, err := exec.LookPath(path); err != nil {
		parts.Missing(t, fmt.Errorf("no cosign: run scripts/install-parts.sh cosign: %w", err))
	}
	return path
}

// TestCosign_VerifiesARelease: the command in docs/releasing.md verifies a release,
// without a network.
func TestCosign_VerifiesARelease(t *testing.T) {
	cosign := cosignPath(t)
	folder, publicKey, _ := signedRelease(t)
	arguments := func(key string) []string {
		return []string{"verify-blob", "--key", key, "--bundle", bundleFile, "--insecure-ignore-tlog", sumsFile}
	}
	verifies(t, folder, []string{sumsFile}, cosign, arguments(publicKey)...)
	_, other, _ := signedRelease(t)
	c := exec.Command(cosign, arguments(other)...)
	c.Dir = folder
	if said, err := c.CombinedOutput(); err == nil {
		t.Errorf("another key verifies it: %s", said)
	}
}
