package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// version is set when a release is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status := report(os.Stderr, newRoot().ExecuteContext(ctx))
	stop()
	os.Exit(status)
}

// The exit statuses, for scripts. The root command's help and docs/cli.md list them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitDenied = 3
)

// errDenied ends the process with the status of a denied request. explain has printed the
// decision already.
var errDenied = errors.New("denied")

// report prints one line for each problem, and returns the exit status.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errDenied) {
		return exitDenied
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		_, _ = fmt.Fprintln(w, "extauthz:", line)
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}
