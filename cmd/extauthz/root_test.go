package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestRoot_EveryCommandHasAnExample(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if c.Short == "" || c.Args == nil {
			t.Errorf("%s does not say what it does, or takes any argument", c.CommandPath())
		}
		for _, child := range c.Commands() {
			if child.Name() != "completion" { // cobra's own command
				visit(child)
			}
		}
	}
	visit(newRoot())
}

func TestReport_ExitStatuses(t *testing.T) {
	for want, err := range map[int]error{
		exitDone: nil, exitFailed: errors.New("failed"), exitDenied: fmt.Errorf("explain: %w", errDenied),
		exitUsage: errors.Join(errors.New("one"), usageError{errors.New("two")}),
	} {
		var said strings.Builder
		if got := report(&said, err); got != want {
			t.Errorf("%v: %d, not %d", err, got, want)
		}
		if quiet := want == exitDone || want == exitDenied; quiet != (said.Len() == 0) {
			t.Errorf("%v: printed %q", err, said.String())
		}
	}
}

func TestRoot_SuggestsCommandsOfEveryLevel(t *testing.T) {
	for line, want := range map[string]string{
		"sreve": "serve", "key list": "keys", "keys revok": "revoke", "roles lst": "list", "cache wram": "warm", "migrate copi": "copy", "envoy bootstap": "bootstrap",
	} {
		root := newRoot()
		root.SetArgs(strings.Fields(line))
		var usage usageError
		if err := root.Execute(); !errors.As(err, &usage) || !strings.Contains(err.Error(), "did you mean ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	root := newRoot()
	root.SetArgs([]string{"keys", "frobnicate"})
	if err := root.Execute(); err == nil || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("nothing is alike: %v", err)
	}
}
