package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// run implements [testing.TB] for a program that uses package parts: whatever is started
// in a run ends with it.
type run struct {
	testing.TB // nil: what is missing is not used
	ctx        context.Context
	dir        string // contains all folders of the run, removed last: an ended program's files may still be read
	cleanups   []func()
	failure    string
}

// within calls f, which may end early by Fatal, and ends all that f started. It returns
// the first error.
func within(ctx context.Context, f func(*run)) error {
	r := &run{ctx: ctx}
	done := make(chan struct{})
	go func() { // Fatal ends only this goroutine
		defer close(done)
		defer func() {
			for i := len(r.cleanups) - 1; i >= 0; i-- {
				r.cleanups[i]()
			}
			if r.dir != "" {
				_ = os.RemoveAll(r.dir)
			}
		}()
		f(r)
	}()
	<-done
	if r.failure != "" {
		return fmt.Errorf("%s", r.failure)
	}
	return ctx.Err()
}

// within runs f in a part of the run that ends first; if the part fails, so does the run.
func (r *run) within(f func(*run)) {
	if err := within(r.ctx, f); err != nil {
		r.Fatal(err)
	}
}

func (r *run) Context() context.Context { return r.ctx }
func (r *run) Helper()                  {}
func (r *run) Failed() bool             { return r.failure != "" }
func (r *run) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }

func (r *run) TempDir() string {
	var err error
	if r.dir == "" {
		r.dir, err = os.MkdirTemp("", "extauthz-bench-")
		r.must(err)
	}
	dir, err := os.MkdirTemp(r.dir, "")
	r.must(err)
	return dir
}

// outlivingRun is a run whose programs live as long as another run.
type outlivingRun struct {
	*run
	as *run
}

func (l outlivingRun) Cleanup(f func()) { l.as.Cleanup(f) }
func (l outlivingRun) TempDir() string  { return l.as.TempDir() }

// logged is how many bytes of the end of a program's output are shown.
const logged = 2000

func (r *run) Logf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, text[max(0, len(text)-logged):])
}

func (r *run) Error(args ...any) {
	if r.failure == "" {
		r.failure = fmt.Sprint(args...)
	}
}

func (r *run) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

func (r *run) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *run) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// Skip is called if a part is missing; without it there is no figure, so the run fails.
func (r *run) Skip(args ...any) { r.Fatal(args...) }

func (r *run) must(err error) {
	if err != nil {
		r.Fatal(err)
	}
}

// file writes a file that ends with the run.
func (r *run) file(name, content string) string {
	path := filepath.Join(r.TempDir(), name)
	r.must(os.WriteFile(path, []byte(content), 0o600))
	return path
}
