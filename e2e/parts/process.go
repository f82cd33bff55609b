package parts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const (
	startTime = 30 * time.Second
	stopTime  = 20 * time.Second
)

// process is a program that a test started. Its output goes to a file, which is printed
// if the test fails.
type process struct {
	tb   testing.TB
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // set once it has ended
}

func start(tb testing.TB, name string, env []string, program string, args ...string) *process {
	tb.Helper()
	return startIn(tb, "", name, env, program, args...)
}

// startIn is start with another root folder.
func startIn(tb testing.TB, root, name string, env []string, program string, args ...string) *process {
	tb.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir = append(os.Environ(), env...), tb.TempDir()
	if root != "" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	}
	return startCommand(tb, name, cmd)
}

// startCommand starts a command whose output goes to the process's file.
func startCommand(tb testing.TB, name string, cmd *exec.Cmd) *process {
	tb.Helper()
	p := &process{tb: tb, cmd: cmd, log: filepath.Join(tb.TempDir(), name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		tb.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = out.Close()
		close(p.done)
	}()
	tb.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if tb.Failed() {
			said, _ := os.ReadFile(p.log)
			tb.Logf("%s said:\n%s", name, said)
		}
	})
	return p
}

// PID is the running program's process id.
func (p *process) PID() int { return p.cmd.Process.Pid }

// end sends a signal, waits, and kills the process if it does not end.
func (p *process) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.tb.Errorf("%s did not end on %v", p.cmd.Path, signal)
	}
}

// await waits until url answers 200, or fails the test.
func (p *process) await(url string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	// Any answer is enough here.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	err := Eventually(ctx, func() error {
		select {
		case <-p.done:
			return Final(fmt.Errorf("it ended: %w", p.err))
		default:
		}
		res, err := client.Get(url)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	})
	if err != nil {
		p.tb.Fatalf("%s is not ready: %v", p.cmd.Path, err)
	}
}

// Eventually calls f until it returns nil, a Final error, or ctx ends.
func Eventually(ctx context.Context, f func() error) error {
	for {
		err := f()
		var final finalError
		if err == nil || errors.As(err, &final) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Final marks an error that waiting will not fix.
func Final(err error) error { return finalError{err} }

type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }
