package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"extauthz/authz"
)

const masked = "***"

// Secret is a setting that can't be printed. fmt, slog and encoding/json write a
// placeholder for it, and [Config.Print] writes "***".
type Secret struct{ authz.Secret }

// NewSecret makes a Secret of a text.
func NewSecret(text string) Secret { return Secret{authz.NewSecret(text)} }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.Len() == 0 }

// UnmarshalText sets the secret to a text.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// DSN is a data source name. It may hold a password, so it can't be printed, like a
// [Secret]. Use [DSN.Masked] to show it.
type DSN struct{ authz.Secret }

// NewDSN makes a DSN of a text.
func NewDSN(text string) DSN { return DSN{authz.NewSecret(text)} }

// IsZero reports whether the data source is empty.
func (d DSN) IsZero() bool { return d.Len() == 0 }

// UnmarshalText sets the data source to a text.
func (d *DSN) UnmarshalText(text []byte) error {
	*d = NewDSN(string(text))
	return nil
}

// passwords matches the settings of a keyword=value data source that may be passwords.
var passwords = regexp.MustCompile(`(?i)(\w*(?:pass|secret|token)\w*\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)`)

// Masked returns the data source with every password replaced by "***"; the host stays.
// If the text can't be parsed, Masked returns "***" alone.
func (d DSN) Masked() string {
	text := d.Reveal()
	if !strings.Contains(text, "://") {
		return passwords.ReplaceAllString(text, "${1}"+masked)
	}
	u, err := url.Parse(text)
	// An opaque rest, or an "@" after the authority, means that the password contains an
	// unescaped "/", "?" or "#".
	if err != nil || u.Opaque != "" || strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		return masked
	}
	user := ""
	if u.User != nil {
		user = url.User(u.User.Username()).String()
		if _, ok := u.User.Password(); ok {
			user += ":" + masked
		}
		user += "@"
	}
	scheme := u.Scheme
	u.User, u.Scheme = nil, ""
	return scheme + "://" + user + passwords.ReplaceAllString(strings.TrimPrefix(u.String(), "//"), "${1}"+masked)
}

// Date is the end of something: a day, which stands for its first instant in UTC, or an
// RFC 3339 time. The zero Date means that there is no end.
type Date struct{ time.Time }

// UnmarshalText parses a text such as 2027-01-31 or 2027-01-31T18:00:00Z.
func (d *Date) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			d.Time = t
			return nil
		}
	}
	return errors.New("write a date such as 2027-01-31, or a time such as 2027-01-31T18:00:00Z")
}

// String returns the date in the form that files have.
func (d Date) String() string {
	if d.Equal(d.Truncate(24 * time.Hour)) {
		return d.UTC().Format(time.DateOnly)
	}
	return d.Format(time.RFC3339)
}

// ListenAddress splits a listen setting, host:port or unix:PATH, for net.Listen. It does
// not fail for a setting in a configuration that Load returned.
func ListenAddress(text string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		// On Linux sun_path holds 107 bytes before its final NUL.
		if path == "" || len(path) > 107 {
			return "", "", fmt.Errorf("%q: the path of a unix socket has 1 to 107 bytes, such as unix:/run/extauthz.sock", text)
		}
		return "unix", path, nil
	}
	if err := hostPort(text, 0); err != nil {
		return "", "", err
	}
	return "tcp", text, nil
}
