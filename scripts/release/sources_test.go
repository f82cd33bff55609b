package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImageSources_HaveEveryPackage: .dockerignore excludes everything and names what the
// image is compiled from, so a new package has to be added to it.
func TestImageSources_HaveEveryPackage(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.ImportPath}}{{end}}{{end}}", "./cmd/extauthz", "./e2e/echo")
	list.Dir = root
	packages, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(packages)) {
		folder := strings.TrimPrefix(pkg, "extauthz/")
		if !slices.ContainsFunc(lines, func(line string) bool {
			included, ok := strings.CutPrefix(line, "!")
			return ok && (folder == included || strings.HasPrefix(folder, included+"/"))
		}) {
			t.Errorf("package %s is not in the image's sources: add its folder to .dockerignore", pkg)
		}
	}
}
