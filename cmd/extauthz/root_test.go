package main

import (
	"testing"

	"github.com/spf13/cobra"
)

func TestEveryCommandHelpsWithAnExample(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if c.Short == "" || c.Args == nil {
			t.Errorf("%s does not say what it does, or takes any argument", c.CommandPath())
		}
		for _, child := range c.Commands() {
			if child.Name() != "completion" { // is cobra's
				visit(child)
			}
		}
	}
	visit(newRoot())
}
