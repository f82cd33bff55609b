package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// platform is an operating system and architecture for which a binary is made.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "_" + p.arch }

var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

func main() {
	out := flag.String("o", "dist/release", "folder for the release; what it held before is removed")
	draft := flag.Bool("draft", false, "make it of files that may be changed, for Linux on this machine's processor alone")
	key := flag.String("key", "", "PEM file with a private key on P-256; signs "+sumsFile)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out, *draft, *key); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// run makes a release next to out, signed if keyFile is given, and renames it to out
// when it is complete.
func run(ctx context.Context, out string, draft bool, keyFile string) error {
	var key *ecdsa.PrivateKey
	if keyFile != "" {
		var err error
		if key, err = signingKey(keyFile); err != nil { // a bad key is reported before minutes of compiling
			return err
		}
	}
	src, err := openSource(ctx, draft)
	if err != nil {
		return err
	}
	out, err = filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(out), ".release-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	b := &builder{source: src, work: work, out: filepath.Join(work, "out")}
	if err := os.Mkdir(b.out, 0o755); err != nil {
		return err
	}
	wanted := platforms
	if draft {
		wanted = []platform{{"linux", runtime.GOARCH}}
	}
	for _, p := range wanted {
		if err := b.platform(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	if err := b.chart(ctx); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	if err := checksums(b.out); err != nil {
		return err
	}
	if key != nil {
		if err := sign(b.out, key); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.Rename(b.out, out); err != nil {
		return err
	}
	fmt.Printf("release: %s of commit %.12s in %s\n", src.version, src.commit, out)
	return nil
}

// builder makes the files of one release.
type builder struct {
	*source
	work, out   string
	completions []file // the same for every platform; made for the first one
}

// platform makes the archive and the SBOM of a platform. For Linux it also makes the
// image and the image's SBOM.
func (b *builder) platform(ctx context.Context, p platform) error {
	binary := filepath.Join(b.work, p.String())
	if p.os == "linux" {
		root := filepath.Join(b.work, "image_"+p.arch)
		if err := b.script(ctx, "scripts/image-root.sh", p.arch, root); err != nil {
			return err
		}
		if err := b.image(p.arch, root); err != nil {
			return err
		}
		binary = filepath.Join(root, "root/usr/bin/extauthz")
	} else if err := b.script(ctx, "scripts/compile.sh", p.os, p.arch, binary, "./cmd/extauthz"); err != nil {
		return err
	}
	if b.completions == nil {
		if err := b.complete(ctx, p, binary); err != nil {
			return err
		}
	}
	name := fmt.Sprintf("extauthz_%s_%s", b.version, p)
	if err := b.archive(name, binary); err != nil {
		return err
	}
	return b.bill(name+".cdx.json", binary, nil)
}

// archive packs the binary, the texts and the completions.
func (b *builder) archive(name, binary string) error {
	files := []file{{name: "extauthz", from: binary, mode: 0o755}}
	for _, text := range []string{"README.md", "CHANGELOG.md", "LICENSE"} {
		if _, err := os.Stat(filepath.Join(b.root, text)); err == nil || text != "LICENSE" {
			files = append(files, file{name: text, from: filepath.Join(b.root, text), mode: 0o644})
		}
	}
	return b.pack(name+".tar.gz", name+"/", append(files, b.completions...))
}

// complete makes the binary write its completions. If the binary is for another platform,
// one for this machine does it.
func (b *builder) complete(ctx context.Context, p platform, binary string) error {
	if p.os != runtime.GOOS || p.arch != runtime.GOARCH {
		binary = filepath.Join(b.work, "own")
		if err := b.script(ctx, "scripts/compile.sh", runtime.GOOS, runtime.GOARCH, binary, "./cmd/extauthz"); err != nil {
			return err
		}
	}
	for _, shell := range []string{"bash", "fish", "zsh"} {
		text, err := exec.CommandContext(ctx, binary, "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("completions of %s: %w", shell, err)
		}
		b.completions = append(b.completions, file{name: "completions/extauthz." + shell, text: text, mode: 0o644})
	}
	return nil
}

// script runs one of the project's scripts.
func (b *builder) script(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, filepath.Join(b.root, name), args...)
	c.Dir = b.root
	c.Env = append(os.Environ(), "VERSION="+b.version, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", b.time.Unix()))
	said, err := c.CombinedOutput()
	if err != nil {
		return errors.New(strings.TrimSpace(fmt.Sprintf("%s: %v\n%s", name, err, said)))
	}
	return nil
}

// checksums writes SHA256SUMS in the form that sha256sum reads.
func checksums(folder string) error {
	entries, err := os.ReadDir(folder) // sorted by name
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, e := range entries {
		sum, err := sha256Of(filepath.Join(folder, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s  %s\n", sum, e.Name())
	}
	return os.WriteFile(filepath.Join(folder, sumsFile), []byte(lines.String()), 0o644)
}

// sha256Of returns the sum of a file, in hexadecimal digits.
func sha256Of(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}
