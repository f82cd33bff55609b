package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"extauthz/e2e/parts"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: echo HOST:PORT")
		os.Exit(2)
	}
	_, stop, err := parts.ListenUpstream(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	stop()
}
