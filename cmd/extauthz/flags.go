package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"extauthz/cmd/extauthz/internal/duration"
)

// checked is a flag whose text is checked when it is parsed, but is passed on unchanged,
// because durations have to count from the server's own time.
type checked struct {
	text  *string
	kind  string // the type's name in the help
	check func(text string) error
}

func (f *checked) String() string {
	if f.text == nil { // the zero value, which pflag makes itself
		return ""
	}
	return *f.text
}

func (f *checked) Type() string { return f.kind }

func (f *checked) Set(text string) error {
	if err := f.check(text); err != nil {
		return err
	}
	*f.text = text
	return nil
}

// durationFlag accepts a duration over zero.
func durationFlag(f *pflag.FlagSet, text *string, name, help string) {
	f.Var(&checked{text, "duration", func(s string) error {
		_, err := duration.Positive(s)
		return err
	}}, name, help)
}

// timeFlag accepts a duration, a time, or one of words.
func timeFlag(f *pflag.FlagSet, text *string, name, help string, words ...string) {
	f.Var(&checked{text, "time", func(s string) error {
		for _, w := range words {
			if s == w {
				return nil
			}
		}
		_, err := duration.From(s, time.Now())
		return err
	}}, name, help)
}

// userFlag, keyFlag and roleFlag define flags whose values the server can complete.
func userFlag(c *cobra.Command, g *globals, user *string, help string) {
	c.Flags().StringVar(user, "user", "", help)
	complete(c, "user", g.completeUsers)
}

func keyFlag(c *cobra.Command, g *globals, key *string, help string) {
	c.Flags().StringVar(key, "key", "", help)
	complete(c, "key", g.completeKeys(nil))
}

func roleFlag(c *cobra.Command, g *globals, roles *[]string, help string) {
	c.Flags().StringArrayVar(roles, "role", nil, help)
	complete(c, "role", g.completeRoles)
}

// required marks flags without which the command line is wrong.
func required(c *cobra.Command, names ...string) {
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, n := range names {
			if !c.Flags().Changed(n) {
				return usage(c, errMissingFlag(n))
			}
		}
		return run(c, args)
	}
}

type errMissingFlag string

func (e errMissingFlag) Error() string { return "--" + string(e) + " is needed" }
