package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

const (
	commandTime = 10 * time.Second // the time limit of one run
	// commandRetry is the least time between two runs of a command that failed, or whose
	// password was refused.
	commandRetry = time.Second
	maxOutput    = 64 << 10 // bytes; a token of RDS has 1 kB
)

// Password is a source of passwords. A file is read for each connection; a command is run
// if its last output is older than the interval. Safe for concurrent use.
type Password struct {
	kept    *LastGood[string] // for a file
	command *command
}

// FromFile returns a source that calls read each time. changed is called as in
// [LastGood].
func FromFile(read func() (string, error), changed func(error)) *Password {
	return &Password{kept: &LastGood[string]{Read: read, Changed: changed}}
}

// FromCommand returns a source that runs a program, without a shell, and reads the
// password from its standard output. One output is used for interval. changed is called
// as in [LastGood].
func FromCommand(argv []string, interval time.Duration, changed func(error)) *Password {
	return &Password{command: &command{argv: argv, interval: interval, changed: changed}}
}

// Password returns the current password.
func (p *Password) Password(ctx context.Context) (string, error) {
	if p.command != nil {
		return p.command.password(ctx)
	}
	return p.kept.Current()
}

// Rejected reports that the password was refused. The command will be run again before
// its output is older than the interval.
func (p *Password) Rejected() {
	if p.command != nil {
		p.command.reject()
	}
}

type command struct {
	argv     []string
	interval time.Duration
	changed  func(error)

	mu       sync.Mutex
	output   string
	at       time.Time     // when output was written; zero: never
	tried    time.Time     // when the last run began
	rejected bool          // whether output was refused
	failing  error         // error of the last run
	running  chan struct{} // closed when the current run ends; nil: none
}

// password waits for a run only if there is no output yet, or the last output was
// refused. Otherwise it returns the last output while the program runs.
func (c *command) password(ctx context.Context) (string, error) {
	c.mu.Lock()
	due := c.at.IsZero() || c.rejected || time.Since(c.at) >= c.interval
	if due && c.running == nil && (c.tried.IsZero() || time.Since(c.tried) >= commandRetry) {
		c.tried, c.running = time.Now(), make(chan struct{})
		go c.run(c.running)
	}
	wait := c.running
	if !c.at.IsZero() && !c.rejected {
		wait = nil
	}
	c.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() {
		return "", c.failing
	}
	return c.output, nil
}

func (c *command) reject() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rejected = true
}

// run runs the program. Its callers can't cancel it; it has its own time limit.
func (c *command) run(done chan struct{}) {
	defer close(done)
	output, err := execute(c.argv)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = nil
	if (err != nil) != (c.failing != nil) && c.changed != nil {
		c.changed(err)
	}
	c.failing = err
	if err == nil {
		c.output, c.at, c.rejected = output, time.Now(), false
	}
}

// execute returns the output of a program without the line end. Its error contains none
// of the output, because a program that fails half-way may already have written a secret.
func execute(argv []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second // for processes that it started and left behind
	out := limited{full: cancel}
	cmd.Stdout = &out
	err := cmd.Run()
	var ended *exec.ExitError
	switch text := string(bytes.TrimSpace(out.text.Bytes())); {
	case out.over:
		return "", fmt.Errorf("%s writes more than %d KiB: this is no password", argv[0], maxOutput>>10)
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s did not end within %s", argv[0], commandTime)
	case errors.As(err, &ended):
		return "", fmt.Errorf("%s failed: %s; run it by hand to see why", argv[0], ended.ProcessState)
	case err != nil:
		return "", fmt.Errorf("%s can't be run: %w", argv[0], err)
	case text == "":
		return "", fmt.Errorf("%s wrote no password to its standard output", argv[0])
	default:
		return text, nil
	}
}

// limited is a buffer with a limit, beyond which the program is ended. It does not embed
// bytes.Buffer, because one of that type's methods reads without a limit.
type limited struct {
	text bytes.Buffer
	full func()
	over bool
}

// Write implements [io.Writer].
func (l *limited) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > maxOutput {
		l.over = true
		l.full()
		return 0, io.ErrShortWrite
	}
	return l.text.Write(p)
}
