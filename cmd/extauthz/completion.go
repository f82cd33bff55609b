package main

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/printer"
)

// completer returns the possible values of an argument or a flag that begin with begun.
type completer = func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective)

const (
	completeTime  = time.Second // the shell waits meanwhile
	completeItems = 50
)

// complete attaches a completer to a flag of a command. It panics for a flag that the
// command does not have.
func complete(c *cobra.Command, flag string, f completer) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

// fixed returns a completer for a fixed list of words.
func fixed(words []string) completer {
	return func(_ *cobra.Command, _ []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
		for _, word := range words {
			if strings.HasPrefix(word, begun) {
				out = append(out, word)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeRoot completes the flags that all commands have. It also stops shells from
// offering file names for arguments that are not files.
func completeRoot(root *cobra.Command) {
	words := func(forms []printer.Form) (out []string) {
		for _, f := range forms {
			out = append(out, string(f))
		}
		return out
	}
	complete(root, "output", fixed(words(printer.Forms)))
	complete(root, "color", fixed([]string{"auto", "always", "never"}))
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.ValidArgsFunction == nil && !c.HasSubCommands() {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(root)
}

// fromServer reads one page of a list. If the server refuses, or does not answer in time,
// it returns nothing: an error message would be printed into the command line.
func fromServer[T any](c *cobra.Command, g *globals, path string, query url.Values) []T {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	client, err := g.client()
	if err != nil {
		return nil
	}
	var page adminapi.Page[T]
	if client.Call(ctx, http.MethodGet, path, query, nil, &page) != nil {
		return nil
	}
	return page.Items
}

// completeKeys completes keys that wanted selects, with their users as descriptions. It
// offers prefixes, or ids if the user has begun to write an id.
func (g *globals) completeKeys(wanted func(*adminapi.Key) bool) completer {
	return func(c *cobra.Command, args []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
		query := url.Values{"limit": {"1000"}}
		if strings.Contains(begun, "_") { // ids contain no "_"
			query = url.Values{"limit": {"100"}, "q": {begun}}
		}
		for _, k := range fromServer[adminapi.Key](c, g, "/v1/keys", query) {
			ref := k.Prefix
			if begun != "" && strings.HasPrefix(k.ID, begun) {
				ref = k.ID
			}
			if strings.HasPrefix(ref, begun) && !slices.Contains(args, ref) && (wanted == nil || wanted(&k)) && len(out) < completeItems {
				out = append(out, cobra.CompletionWithDesc(ref, printer.Clean(k.UserID+" "+k.Name+" ("+k.Status+")")))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeKey is completeKeys for a command with exactly one argument.
func (g *globals) completeKey(wanted func(*adminapi.Key) bool) completer {
	keys := g.completeKeys(wanted)
	return func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return keys(c, args, begun)
	}
}

func (g *globals) completeUsers(c *cobra.Command, _ []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
	query := url.Values{"limit": {"1000"}}
	if begun != "" {
		query.Set("q", begun)
	}
	for _, k := range fromServer[adminapi.Key](c, g, "/v1/keys", query) {
		if user := printer.Clean(k.UserID); strings.HasPrefix(user, begun) && !slices.Contains(out, user) && len(out) < completeItems {
			out = append(out, user)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (g *globals) completeRoles(c *cobra.Command, _ []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
	for _, r := range fromServer[adminapi.Role](c, g, "/v1/roles", url.Values{"limit": {"1000"}}) {
		if strings.HasPrefix(r.Name, begun) {
			out = append(out, cobra.CompletionWithDesc(r.Name, printer.Clean(strings.Join(r.Scopes, " "))))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (g *globals) completeRole(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return g.completeRoles(c, args, begun)
}
