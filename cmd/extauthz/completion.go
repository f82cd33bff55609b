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

// completer returns what an argument or a flag can be.
type completer = func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective)

const (
	completeTime  = time.Second // a shell waits for it
	completeItems = 50
)

// complete gives a flag of a command a completer. It fails for none of this program's
// flags.
func complete(c *cobra.Command, flag string, f completer) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

// fixed completes from a list of words.
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

// completeRoot completes the flags that all commands have, and keeps file names out of
// arguments that are not files.
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

// fromServer asks for one page of a list. Where the server does not answer in time,
// or refuses, there is nothing to complete: an error would be printed into the command line.
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

// completeKeys completes prefixes, and ids where one was begun, of the selected keys,
// with their users.
func (g *globals) completeKeys(wanted func(*adminapi.Key) bool) completer {
	return func(c *cobra.Command, args []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
		query := url.Values{"limit": {"1000"}}
		if strings.Contains(begun, "_") { // ids have none
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

// completeKey completes the only argument of a command.
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
