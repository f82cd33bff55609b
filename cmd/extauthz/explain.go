package main

import (
	"bufio"
	"errors"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
)

func explainCommand(g *globals) *cobra.Command {
	var headers []string
	var from string
	c := &cobra.Command{
		Use:     "explain METHOD URL",
		Short:   "Decide about a request and print each step",
		Long:    "Decide about a request and print each step. The key is read from EXTAUTHZ_KEY, or from standard input where that is no terminal; never from an argument, which others could see.\nExits with status 3 where the request is denied.",
		Example: "  EXTAUTHZ_KEY=$KEY extauthz explain GET https://api.example.com/orders/42\n  extauthz explain GET /orders/42 --header 'x-forwarded-for: 192.0.2.1' <key.txt",
		Args:    exactly(2),
		RunE: func(c *cobra.Command, args []string) error {
			key, err := readPresentedKey(c)
			if err != nil {
				return err
			}
			q := adminapi.ExplainRequest{Method: args[0], URL: args[1], Headers: headers, From: from, Key: key}
			a, err := call[adminapi.Explanation](c, g, http.MethodPost, "/v1/explain", nil, q)
			if err != nil {
				return err
			}
			err = g.show(c, a, func(w *tabwriter.Writer) {
				verdict := "denied"
				if a.Allowed {
					verdict = "allowed"
				}
				row(w, verdict, a.Reason, a.Detail)
				for _, s := range a.Steps {
					row(w, "  "+s.Name, s.Outcome, s.Detail)
				}
			})
			if err == nil && !a.Allowed {
				err = errDenied
			}
			return err
		},
	}
	c.Flags().StringArrayVar(&headers, "header", nil, "header 'name: value'; several allowed")
	c.Flags().StringVar(&from, "from", "", "the client's IP address")
	return c
}

// readPresentedKey reads the key from EXTAUTHZ_KEY, else from the first line of standard
// input if that is a file or a pipe. It returns "" if there is neither.
func readPresentedKey(c *cobra.Command) (string, error) {
	if key := os.Getenv("EXTAUTHZ_KEY"); key != "" {
		return key, nil
	}
	if f, ok := c.InOrStdin().(*os.File); ok {
		info, err := f.Stat()
		if err != nil || info.Mode()&os.ModeCharDevice != 0 {
			return "", nil
		}
	}
	line := bufio.NewScanner(c.InOrStdin())
	if !line.Scan() {
		if errors.Is(line.Err(), bufio.ErrTooLong) {
			return "", errors.New("standard input holds a line that is no key")
		}
		return "", nil
	}
	return strings.TrimSpace(line.Text()), nil
}
