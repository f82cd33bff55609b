package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/adminclient"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/server"
)

// client returns the API client. It finds the server by adminServer, and takes the key
// from EXTAUTHZ_TOKEN, from --token-file, or from the file that a local serve wrote.
func (g *globals) client() (*adminclient.Client, error) {
	if g.api != nil {
		return g.api, nil
	}
	token, err := g.token()
	if err != nil {
		return nil, err
	}
	address, secure, err := g.adminServer()
	if err != nil {
		return nil, err
	}
	g.api, err = adminclient.New(address, token, secure)
	return g.api, err
}

// call makes a call whose answer is a T.
func call[T any](c *cobra.Command, g *globals, method, path string, query url.Values, in any, headers ...string) (answer T, err error) {
	client, err := g.client()
	if err != nil {
		return answer, err
	}
	err = client.Call(c.Context(), method, path, query, in, &answer, headers...)
	return answer, err
}

// pages reads a list page by page until its end, or until take returns false.
func pages[T any](c *cobra.Command, g *globals, path string, query url.Values, take func(items []T) (more bool)) error {
	for {
		page, err := call[adminapi.Page[T]](c, g, http.MethodGet, path, query, nil)
		if err != nil {
			return err
		}
		if !take(page.Items) || page.NextCursor == "" {
			return nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

// now returns the server's time once a server was called, because the server's clock
// decides when keys end. Before that it returns this machine's time.
func (g *globals) now() time.Time {
	if g.api != nil {
		return g.api.Now()
	}
	return time.Now()
}

func (g *globals) token() (authz.Secret, error) {
	if t := os.Getenv("EXTAUTHZ_TOKEN"); t != "" {
		return authz.NewSecret(t), nil
	}
	path := g.tokenFile
	if path == "" {
		path = filepath.Join(g.dataFolder(), server.AdminKeyFile)
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && g.tokenFile == "":
		return authz.Secret{}, errors.New("no key for the management API: set EXTAUTHZ_TOKEN or --token-file, or give --data-dir of a local serve")
	case err != nil:
		return authz.Secret{}, fmt.Errorf("key for the management API can't be read: %w", err)
	}
	return authz.NewSecret(strings.TrimSpace(string(b))), nil
}

// dataFolder returns the folder in which a local serve keeps its files. A configuration
// that can't be loaded is not reported here: then the default folder is returned.
func (g *globals) dataFolder() string {
	if g.dataDir != "" {
		return g.dataDir
	}
	if c, err := g.load(); err == nil {
		return c.DataDir
	}
	return config.Defaults().DataDir
}
