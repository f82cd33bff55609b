package parts

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// repository returns the path of a file in this repository.
func repository(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, name)
		}
		dir = filepath.Dir(dir)
	}
	tb.Fatal("tests run in the repository")
	return ""
}

// installedPart returns the path of something that scripts/install-parts.sh keeps in a
// folder of the cache. The folder is named by the sum of the files that pin its versions.
func installedPart(tb testing.TB, kind, name string, pins ...string) string {
	tb.Helper()
	NotShort(tb)
	dir := installedFolder(tb, kind, pins...)
	if _, err := os.Stat(filepath.Join(dir, "complete")); err != nil {
		Missing(tb, errors.New("run scripts/install-parts.sh "+kind))
	}
	return filepath.Join(dir, name)
}

// installedFolder returns that folder, which may not exist.
func installedFolder(tb testing.TB, kind string, pins ...string) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	var text []byte
	for _, pin := range pins {
		t, err := os.ReadFile(repository(tb, pin))
		if err != nil {
			tb.Fatal(err)
		}
		text = append(text, t...)
	}
	return filepath.Join(cache, "extauthz", kind, fmt.Sprintf("%x", sha256.Sum256(text))[:12])
}

// ChartPart returns the path of something that `scripts/install-parts.sh chart` made:
// helm, helm-unittest, helm-docs, kubeconform, kubernetes-VERSION (a folder of schemas),
// custom.yaml (definitions of custom kinds).
func ChartPart(tb testing.TB, name string) string {
	tb.Helper()
	return installedPart(tb, "chart", name, "tools/chart/go.mod", "tools/chart/schemas.txt")
}

// Helm runs Helm on the API of a kubeconfig file; with "" it has no API.
func Helm(tb testing.TB, kubeconfig string, args ...string) (stdout, stderr string, err error) {
	tb.Helper()
	cmd := exec.Command(ChartPart(tb, "helm"), args...)
	home := tb.TempDir() // without the user's repositories and plugins
	if kubeconfig == "" {
		kubeconfig = filepath.Join(home, "none")
	}
	cmd.Env = append(os.Environ(), "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+kubeconfig)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}
