package models

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Check returns an error if [Open] would refuse the configuration itself: a DSN that
// can't be parsed, or a path that can't be a database file. It makes no connection and no
// file. So a state that may change by itself, such as a server that is down, is no error.
func (c Config) Check() error {
	switch c.Driver {
	case Postgres:
		_, err := postgresSettings(c)
		return err
	case SQLite:
		if c.DSN == ":memory:" || strings.HasPrefix(c.DSN, "file:") {
			return fmt.Errorf("%q is no path: name a file, such as /var/lib/extauthz/extauthz.db", c.DSN)
		}
		info, err := os.Stat(c.DSN)
		switch {
		case err == nil && info.IsDir():
			return fmt.Errorf("%s is a folder: name a file in it", c.DSN)
		case err == nil && info.Size() > 0 && !beginsAsSQLite(c.DSN):
			return fmt.Errorf("%s is a file of another kind, no SQLite database: name another one", c.DSN)
		case err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
			return nil
		}
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			err = path.Err
		}
		return fmt.Errorf("%q can't be a database file: %w: name another one", c.DSN, err)
	}
	return fmt.Errorf("database driver %q: write sqlite or postgres", c.Driver)
}

// beginsAsSQLite reports whether a file has SQLite's header. It also reports true for a
// file that can't be read.
func beginsAsSQLite(path string) bool {
	const header = "SQLite format 3\x00"
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer func() { _ = f.Close() }()
	begins := make([]byte, len(header))
	n, err := io.ReadFull(f, begins)
	return err == nil && string(begins) == header || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && n == 0
}
