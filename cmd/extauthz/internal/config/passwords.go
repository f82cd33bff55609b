package config

import (
	"net/url"
	"regexp"
	"strings"

	"extauthz/cmd/extauthz/internal/credentials"
)

// SecretReader returns a function that reads a secret's file each time it is called. Its
// errors contain nothing of the file's content.
func SecretReader(path string) func() (string, error) {
	return func() (string, error) {
		text, _, err := readSecret(path)
		return string(trimNewline(text)), err
	}
}

// PasswordSource returns the source of the password for new connections, or nil if the
// data source holds it. changed is called as described in [credentials.LastGood].
func (d Database) PasswordSource(changed func(error)) *credentials.Password {
	switch {
	case d.PasswordFile != "":
		return credentials.FromFile(SecretReader(d.PasswordFile), changed)
	case len(d.PasswordCommand) > 0:
		return credentials.FromCommand(d.PasswordCommand, d.PasswordInterval, changed)
	}
	return nil
}

// PasswordSource returns the source of the password for new connections, or nil if the
// password does not change.
func (r Redis) PasswordSource(changed func(error)) *credentials.Password {
	switch {
	case r.PasswordFile != "":
		return credentials.FromFile(SecretReader(r.PasswordFile), changed)
	case len(r.PasswordCommand) > 0:
		return credentials.FromCommand(r.PasswordCommand, r.PasswordInterval, changed)
	}
	return nil
}

// SentinelPasswordSource is [Redis.PasswordSource] for the sentinels.
func (r Redis) SentinelPasswordSource(changed func(error)) *credentials.Password {
	if r.SentinelPasswordFile == "" {
		return nil
	}
	return credentials.FromFile(SecretReader(r.SentinelPasswordFile), changed)
}

// passwordSources checks that each password has only one source.
func (v *validator) passwordSources() {
	d := v.Database
	if d.Driver == DefaultDriver {
		for setting, set := range map[string]bool{"database.password_file": d.PasswordFile != "", "database.password_command": len(d.PasswordCommand) > 0} {
			if set {
				v.add(setting, "is for postgres only: remove it, or write driver: postgres")
			}
		}
	}
	if d.PasswordFile != "" {
		v.secretFile("database.password_file", d.PasswordFile, v.faults)
	}
	for _, dsn := range []struct{ setting, text string }{{"database.dsn", d.DSN.Reveal()}, {"database.listen_dsn", d.ListenDSN.Reveal()}} {
		if !holdsPassword(dsn.text) {
			continue
		}
		if d.PasswordFile != "" {
			v.add("database.password_file", "is set, and %s holds a password too: remove one", dsn.setting)
		}
		if len(d.PasswordCommand) > 0 {
			v.add("database.password_command", "is set, and %s holds a password too: remove one", dsn.setting)
		}
	}
	v.passwordCommand("database", d.PasswordCommand, d.PasswordFile != "")
	r := v.Cache.Redis
	v.passwordCommand("cache.redis", r.PasswordCommand, r.PasswordFile != "")
	if len(r.PasswordCommand) > 0 && r.PasswordFile == "" && !r.Password.IsZero() {
		v.add("cache.redis.password_command", "and cache.redis.password are both set: remove one")
	}
}

func (v *validator) passwordCommand(section string, argv []string, file bool) {
	setting := section + ".password_command"
	switch {
	case len(argv) == 0:
	case file:
		v.add(setting, "and %s.password_file are both set: remove one", section)
	case strings.TrimSpace(argv[0]) == "":
		v.add(setting, "names no program: write [program, argument, …]")
	case len(argv) == 1 && strings.ContainsAny(argv[0], " \t"):
		v.add(setting, "is one word with a space in it, and no shell splits it: write [program, argument, …]")
	}
}

var passwordKeyword = regexp.MustCompile(`(?i)(^|\s)password\s*=\s*[^\s]`)

// holdsPassword reports whether a Postgres data source contains a password.
func holdsPassword(dsn string) bool {
	if !strings.Contains(dsn, "://") {
		return passwordKeyword.MatchString(dsn)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return false
	}
	_, set := u.User.Password()
	return set || u.Query().Has("password")
}
