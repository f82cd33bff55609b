package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/printer"
)

// consent is the user's permission to do what cannot be undone.
type consent struct{ yes bool }

func (a *consent) flag(c *cobra.Command) {
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
}

var errDeclined = errors.New("declined: nothing was changed")

// interactive reports whether a person can be asked on the terminal.
func interactive(c *cobra.Command) bool {
	return printer.Terminal(c.InOrStdin()) && printer.Terminal(c.ErrOrStderr())
}

// confirm asks on a terminal. Without a terminal and without --yes, only a single item
// that the command line names may be changed, so many must be false. what is a sentence
// about what will be done.
func (a *consent) confirm(c *cobra.Command, many bool, what string) error {
	switch {
	case a.yes:
		return nil
	case interactive(c):
		return question(c, what)
	case many:
		return usageError{fmt.Errorf("%s: add --yes to do it where no terminal is there to ask on", what)}
	}
	return nil
}

// question waits for an answer or for Ctrl-C. Ctrl-C ends the context; it does not
// interrupt the read.
func question(c *cobra.Command, what string) error {
	c.PrintErr(what + ". Go on? [y/N] ")
	answers := make(chan string, 1)
	go func() {
		answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
		if err != nil {
			answer = ""
			c.PrintErrln()
		}
		answers <- answer
	}()
	select {
	case <-c.Context().Done():
		c.PrintErrln()
	case answer := <-answers:
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		}
	}
	return errDeclined
}

// sample is the number of names that a question lists.
const sample = 5

// some lists the first names, and how many more there are.
func some(names []string) string {
	if len(names) <= sample {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:sample], ", "), len(names)-sample)
}

// counted writes a number with its unit: 1 key, 2 keys.
func counted[N int | int64](n N, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
