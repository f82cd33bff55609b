package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// source is the commit that a release is made of.
type source struct {
	root    string // the tree's folder
	version string // SemVer, without "v"
	commit  string
	time    time.Time // of the commit
}

// final matches a version without "-": its commit has a tag, and it is not a release
// candidate.
var final = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// openSource inspects the tree of the working folder. It refuses a final version that
// CHANGELOG.md lacks and, unless the release is a draft, changes that are not committed.
func openSource(ctx context.Context, draft bool) (*source, error) {
	root, err := output(ctx, "", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, fmt.Errorf("it is made of a git repository: clone it (%w)", err)
	}
	changed, err := output(ctx, root, "git", "status", "--porcelain")
	if err != nil {
		return nil, err
	}
	if changed != "" && !draft {
		files := strings.Split(changed, "\n")
		return nil, fmt.Errorf("files were changed since the last commit (%d, such as %s): commit, remove or stash them", len(files), strings.Fields(files[0])[1])
	}
	s := &source{root: root}
	if s.version, err = output(ctx, root, filepath.Join(root, "scripts/version.sh")); err != nil {
		return nil, err
	}
	said, err := output(ctx, root, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return nil, err
	}
	commit, at, _ := strings.Cut(said, " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return nil, err
	}
	s.commit, s.time = commit, time.Unix(seconds, 0).UTC()
	if final.MatchString(s.version) {
		if _, err := output(ctx, root, "grep", "-qE", `^## \[?`+regexp.QuoteMeta(s.version)+`\b`, "CHANGELOG.md"); err != nil {
			return nil, fmt.Errorf("CHANGELOG.md has no section %q: name the unreleased one so, commit, and move the tag", "## "+s.version)
		}
	}
	return s, nil
}

// output returns a program's output, without the newline at its end.
func output(ctx context.Context, folder, program string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, program, args...)
	c.Dir = folder
	said, err := c.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%s: %s", filepath.Base(program), strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimRight(string(said), "\n"), err
}
