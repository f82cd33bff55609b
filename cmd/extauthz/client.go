package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/adminclient"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/server"
)

// client finds the server and the key for it: EXTAUTHZ_TOKEN, --token-file, or
// the file that a local serve left.
func (g *globals) client() (*adminclient.Client, error) {
	if g.output != "table" && g.output != "json" {
		return nil, usageError{fmt.Errorf("output %q: write table or json", g.output)}
	}
	token, err := g.token()
	if err != nil {
		return nil, err
	}
	return adminclient.New(g.server, token)
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

// dataFolder is where a local serve keeps its files. A configuration that is
// faulty in other places does not matter here.
func (g *globals) dataFolder() string {
	if g.dataDir != "" {
		return g.dataDir
	}
	if c, err := g.load(); err == nil {
		return c.DataDir
	}
	return config.Defaults().DataDir
}
