package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// reference is docs/cli.md.
const reference = root + "/docs/cli.md"

// referenceEnd is the last line of the hand-written part; the list of commands follows
// it.
const referenceEnd = "## Commands\n"

// TestReference_IsWhatTheCommandsSay: the list of commands in docs/cli.md is made from
// their own help. Run it with -update to write the list anew.
func TestReference_IsWhatTheCommandsSay(t *testing.T) {
	for _, name := range []string{"EXTAUTHZ_CONFIG", "EXTAUTHZ_SERVER", "EXTAUTHZ_TOKEN_FILE"} {
		t.Setenv(name, "") // these variables are defaults of flags
	}
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	written, _, found := strings.Cut(string(text), referenceEnd)
	if !found {
		t.Fatalf("%s has no line %q", reference, referenceEnd)
	}
	want := written + referenceEnd + commandReference()
	if *update {
		if err := os.WriteFile(reference, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("%s is not what the commands say: run go test ./cmd/extauthz -run TestReference -update", reference)
	}
	for status, words := range map[int]string{exitDone: "done", exitFailed: "failed", exitUsage: "command line", exitDenied: "denied"} {
		if !strings.Contains(written, fmt.Sprintf("| %d | ", status)) || !strings.Contains(rootHelp, fmt.Sprintf("%d ", status)) || !strings.Contains(rootHelp, words) {
			t.Errorf("exit status %d (%s) is in the help or in %s not", status, words, reference)
		}
	}
}

// commandReference writes a section for each command, and one for the flags that all
// have.
func commandReference() string {
	var b strings.Builder
	top := newRoot()
	b.WriteString("Flags that all commands have:\n\n" + flagTable(top.PersistentFlags()))
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Runnable() && !c.HasSubCommands() {
			b.WriteString(commandSection(c))
		}
		for _, child := range c.Commands() {
			if child.Name() != "completion" && child.Name() != "help" {
				visit(child)
			}
		}
	}
	visit(top)
	return b.String()
}

func commandSection(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n", c.CommandPath())
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(&b, "```text\n%s\n```\n\n%s\n\n```sh\n%s\n```\n", strings.TrimSuffix(c.UseLine(), " [flags]"), escaped(text), strings.ReplaceAll(c.Example, "\n  ", "\n")[2:])
	if flags := flagTable(c.LocalNonPersistentFlags()); flags != "" {
		b.WriteString("\n" + flags)
	}
	return b.String()
}

func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if b.Len() == 0 {
			b.WriteString("| flag | |\n|---|---|\n")
		}
		name, help := pflag.UnquoteUsage(f)
		text := "--" + f.Name
		if f.Shorthand != "" {
			text = "-" + f.Shorthand + ", " + text
		}
		if name != "" {
			text += " " + name
		}
		if standard := f.DefValue; standard != "" && standard != "false" && standard != "[]" && standard != "0" {
			help += " (default " + standard + ")"
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", text, escaped(help))
	})
	return b.String()
}

// escaped stops Markdown from interpreting a help text.
func escaped(text string) string {
	return strings.NewReplacer("|", `\|`, "*", `\*`, "<", `\<`, "_", `\_`).Replace(text)
}
