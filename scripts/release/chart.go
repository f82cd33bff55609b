package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

const chartFolder = "helm/extauthz"

// versions are the lines of Chart.yaml that a release replaces.
var versions = regexp.MustCompile(`(?m)^(version|appVersion):.*$`)

// chart packs the chart as `helm package --version V --app-version V` does: the files
// that git tracks, except those that .helmignore names, with the version in Chart.yaml.
func (b *builder) chart(ctx context.Context) error {
	about, err := os.ReadFile(filepath.Join(b.root, chartFolder, "Chart.yaml"))
	if err != nil {
		return err
	}
	if n := len(versions.FindAll(about, -1)); n != 2 {
		return fmt.Errorf("there are %d lines version and appVersion in Chart.yaml: write each once", n)
	}
	about = versions.ReplaceAll(about, []byte(`$1: "`+b.version+`"`))
	ignored, err := ignoredOf(filepath.Join(b.root, chartFolder, ".helmignore"))
	if err != nil {
		return err
	}
	listed, err := output(ctx, filepath.Join(b.root, chartFolder), "git", "ls-files")
	if err != nil {
		return err
	}
	var files []file
	for name := range strings.Lines(listed) {
		switch name = strings.TrimSuffix(name, "\n"); {
		case name == "Chart.yaml":
			files = append(files, file{name: name, text: about, mode: 0o644})
		case !ignored(name):
			files = append(files, file{name: name, from: filepath.Join(b.root, chartFolder, name), mode: 0o644})
		}
	}
	return b.pack("extauthz-"+b.version+".tgz", "extauthz/", files)
}

// ignoredOf reads those entries of .helmignore whose order does not matter: names and
// patterns of files, and of folders (with "/" at the end), at any depth.
func ignoredOf(name string) (func(string) bool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var ofFiles, ofFolders []string
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		pattern := strings.TrimSpace(lines.Text())
		if pattern == "" || pattern[0] == '#' {
			continue
		}
		pattern, folder := strings.CutSuffix(pattern, "/")
		if _, err := path.Match(pattern, ""); err != nil || strings.ContainsAny(pattern, "!/") {
			return nil, fmt.Errorf(".helmignore: %q is of a form that the release does not know: name files, or folders with / at the end", lines.Text())
		}
		ofFiles = append(ofFiles, pattern)
		if folder {
			ofFolders, ofFiles = append(ofFolders, pattern), ofFiles[:len(ofFiles)-1]
		}
	}
	matches := func(patterns []string, name string) bool {
		for _, p := range patterns {
			if ok, _ := path.Match(p, name); ok {
				return true
			}
		}
		return false
	}
	return func(name string) bool {
		parts := strings.Split(name, "/")
		for _, folder := range parts[:len(parts)-1] {
			if matches(ofFolders, folder) || matches(ofFiles, folder) {
				return true
			}
		}
		return matches(ofFiles, parts[len(parts)-1])
	}, nil
}
