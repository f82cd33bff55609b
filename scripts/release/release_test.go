package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2027, 1, 31, 9, 30, 0, 0, time.UTC)

// repository is a git repository of its own, with the project's version.sh.
type repository struct {
	t      *testing.T
	folder string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, folder: t.TempDir()}
	script, err := os.ReadFile("../version.sh")
	if err != nil {
		t.Fatal(err)
	}
	r.write("scripts/version.sh", string(script))
	if err := os.Chmod(filepath.Join(r.folder, "scripts/version.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "-q")
	r.write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n## [1.2.3] - 2027-01-30\n")
	r.commit()
	return r
}

func (r *repository) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repository) git(args ...string) string {
	r.t.Helper()
	c := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)...)
	c.Dir = r.folder
	c.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2027-01-31T10:30:00+01:00", "GIT_AUTHOR_DATE=2027-01-31T10:30:00+01:00")
	said, err := c.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v %s", args, err, said)
	}
	return strings.TrimSpace(string(said))
}

func (r *repository) commit() {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", "x")
}

func (r *repository) open(draft bool) (*source, error) {
	r.t.Helper()
	r.t.Chdir(r.folder)
	return openSource(r.t.Context(), draft)
}

func TestVersion_ComesFromTagAndCommitAlone(t *testing.T) {
	r := newRepository(t)
	pseudo := func() string { return "20270131093000-" + r.git("rev-parse", "HEAD")[:12] }
	expect := func(want string) {
		t.Helper()
		s, err := r.open(true)
		if err != nil || s.version != want {
			t.Fatalf("got %+v, %v, want %s", s, err, want)
		}
	}
	expect("0.0.0-" + pseudo())
	r.git("tag", "v1.2.3-rc.1")
	expect("1.2.3-rc.1")
	r.commit()
	expect("1.2.3-rc.1.0." + pseudo())
	r.git("tag", "v1.2.3")
	expect("1.2.3")
	r.git("tag", "nightly")
	expect("1.2.3")
	r.commit()
	expect("1.2.4-0." + pseudo())
	r.write("CHANGELOG.md", "")
	expect("1.2.4-0." + pseudo() + ".changed")
}

func TestSource_WhatIsNoCommitIsRefusedInOneLine(t *testing.T) {
	r := newRepository(t)
	s, err := r.open(false)
	if err != nil || !s.time.Equal(at) || s.commit != r.git("rev-parse", "HEAD") {
		t.Fatalf("%+v, %v", s, err)
	}
	refused := func(want string) {
		t.Helper()
		if _, err := r.open(false); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	r.write("new.go", "package x")
	refused("such as new.go")
	r.commit()
	r.write("CHANGELOG.md", "")
	refused("such as CHANGELOG.md")
	r.commit()
	r.git("tag", "v1.2.3")
	refused(`no section "## 1.2.3"`)
	r.t.Chdir(t.TempDir())
	if _, err := openSource(t.Context(), false); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v without git", err)
	}
}

// builderOf returns a builder that writes to a new folder.
func builderOf(t *testing.T, root string) *builder {
	t.Helper()
	return &builder{source: &source{root: root, version: "1.2.3", commit: strings.Repeat("ab", 20), time: at}, work: t.TempDir(), out: t.TempDir()}
}

// members returns an archive's members by name. No name may occur twice.
func members(t *testing.T, r io.Reader) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, texts := map[string]*tar.Header{}, map[string][]byte{}
	var names []string
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(at) || headers[h.Name] != nil {
			t.Errorf("%s has the time %v, or occurs twice", h.Name, h.ModTime)
		}
		names = append(names, h.Name)
		headers[h.Name] = h
		if texts[h.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("out of order: %q", names)
	}
	return headers, texts
}

func unzipped(t *testing.T, text []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func into(t *testing.T, text []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

// imageRoot returns a folder as image-root.sh lays it out, with this test program as the
// binary.
func imageRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"root/usr/bin/extauthz": binary, "root/etc/ssl/certs/ca-certificates.crt": []byte("roots")} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"root/var/lib", "data/extauthz"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestImage_NamesItsPartsByTheirDigests: that holds for the parts of the OCI layout, and
// for those that `docker load` reads.
func TestImage_NamesItsPartsByTheirDigests(t *testing.T) {
	b := builderOf(t, "")
	if err := b.image("arm64", imageRoot(t)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(b.out, "extauthz_1.2.3_image_linux_arm64.tar"))
	if err != nil {
		t.Fatal(err)
	}
	_, parts := members(t, bytes.NewReader(text))
	for name, part := range parts {
		if sum, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && sum != "" && sum != fmt.Sprintf("%x", sha256.Sum256(part)) {
			t.Errorf("%s is another part", name)
		}
	}
	type descriptor struct {
		Digest      string
		Size        int
		Annotations map[string]string
	}
	blob := func(d descriptor) []byte {
		part := parts["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if part == nil || len(part) != d.Size {
			t.Fatalf("%+v has %d bytes", d, len(part))
		}
		return part
	}
	var index struct{ Manifests []descriptor }
	into(t, parts["index.json"], &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	into(t, blob(index.Manifests[0]), &manifest)
	var config struct {
		Architecture string
		RootFS       struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	into(t, blob(manifest.Config), &config)
	layer := unzipped(t, blob(manifest.Layers[0]))
	if len(manifest.Layers) != 1 || config.Architecture != "arm64" || !slices.Equal(config.RootFS.DiffIDs, []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}) {
		t.Errorf("manifest %+v, configuration %+v", manifest, config)
	}
	var saved []struct {
		Config           string
		RepoTags, Layers []string
	}
	into(t, parts["manifest.json"], &saved)
	if want := "blobs/sha256/" + manifest.Config.Digest[7:]; saved[0].Config != want || saved[0].Layers[0] != "blobs/sha256/"+manifest.Layers[0].Digest[7:] || saved[0].RepoTags[0] != "extauthz:1.2.3" {
		t.Errorf("%+v", saved)
	}

	files, _ := members(t, bytes.NewReader(layer))
	for name, want := range map[string]struct {
		mode  int64
		owner int
	}{"usr/bin/extauthz": {0o755, 0}, "var/lib/": {0o750, 0}, "var/lib/extauthz/": {0o750, 65532}} {
		if h := files[name]; h == nil || h.Mode != want.mode || h.Uid != want.owner || h.Gid != want.owner || h.Uname != "" {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// TestSBOM_NamesEveryModule: the SBOM has every module that Go's linker put into the
// binary.
func TestSBOM_NamesEveryModule(t *testing.T) {
	b := builderOf(t, "")
	root := imageRoot(t)
	if err := b.image("amd64", root); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(root, "root/usr/bin/extauthz")
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.bill("own.cdx.json", binary, nil); err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string]int{"own.cdx.json": 1, "extauthz_1.2.3_image_linux_amd64.cdx.json": 3} {
		text, err := os.ReadFile(filepath.Join(b.out, name))
		if err != nil {
			t.Fatal(err)
		}
		var bill struct {
			SerialNumber string
			Metadata     struct{ Component component }
			Components   []component
			Dependencies []dependency
		}
		into(t, text, &bill)
		refs := []string{bill.Metadata.Component.Ref}
		for _, c := range bill.Components {
			refs = append(refs, c.Ref)
		}
		for _, m := range info.Deps {
			if !slices.Contains(refs, "pkg:golang/"+m.Path+"@"+m.Version) {
				t.Errorf("%s lacks %s", name, m.Path)
			}
		}
		if len(info.Deps) == 0 || len(bill.Components) != len(info.Deps)+more {
			t.Errorf("%s has %d components, the binary %d modules", name, len(bill.Components), len(info.Deps))
		}
		for _, d := range bill.Dependencies {
			for _, ref := range append(d.DependsOn, d.Ref) {
				if !slices.Contains(refs, ref) {
					t.Errorf("%s: %s is no component", name, ref)
				}
			}
		}
		slices.Sort(refs)
		if len(slices.Compact(refs)) != len(bill.Components)+1 {
			t.Errorf("%s: references stand there twice", name)
		}
		if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(bill.SerialNumber) {
			t.Errorf("%s: %s", name, bill.SerialNumber)
		}
	}
}

func TestChart_HasTheReleasesVersionAndNothingIgnored(t *testing.T) {
	r := newRepository(t)
	for name, text := range map[string]string{
		"Chart.yaml":              "apiVersion: v2\nname: extauthz\nversion: 0.1.0\nappVersion: \"0.1.0\"\nkubeVersion: \">=1.30.0-0\"\n",
		".helmignore":             "# none of\n*.gotmpl\ntests/\nNOTES\n",
		"values.yaml":             "version: 7\n",
		"templates/tests/t.yaml":  "x",
		"templates/notes.txt":     "x",
		"README.md.gotmpl":        "x",
		"tests/deployment.yaml":   "x",
		"files/NOTES":             "x",
		"files/tests.yaml":        "x",
		"templates/sub/x.gotmpl":  "x",
		"templates/_helpers.yaml": "x",
	} {
		r.write("helm/extauthz/"+name, text)
	}
	r.commit()
	r.write("helm/extauthz/secret.yaml", "not in git")
	b := builderOf(t, r.folder)
	if err := b.chart(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(b.out, "extauthz-1.2.3.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	_, files := members(t, bytes.NewReader(unzipped(t, text)))
	var names []string
	for name := range files {
		names = append(names, strings.TrimPrefix(name, "extauthz/"))
	}
	slices.Sort(names)
	if want := []string{".helmignore", "Chart.yaml", "files/tests.yaml", "templates/_helpers.yaml", "templates/notes.txt", "values.yaml"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	if want := "apiVersion: v2\nname: extauthz\nversion: \"1.2.3\"\nappVersion: \"1.2.3\"\nkubeVersion: \">=1.30.0-0\"\n"; string(files["extauthz/Chart.yaml"]) != want {
		t.Errorf("got %s", files["extauthz/Chart.yaml"])
	}
	for _, pattern := range []string{"!x", "a/b", "["} {
		r.write("helm/extauthz/.helmignore", pattern+"\n")
		if err := b.chart(t.Context()); err == nil || !strings.Contains(err.Error(), "the release does not know") {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}
