package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"extauthz/authz"
	"extauthz/cachesvc/seal"
)

// maxSecretFile is the largest size of a file with a secret, in bytes.
const maxSecretFile = 64 << 10

// resolveSecrets reads secrets from their own files into the settings that the files
// stand for.
func (c *Config) resolveSecrets(problems *faults) {
	redis := &c.Cache.Redis
	for _, s := range []struct {
		setting string
		value   *authz.Secret
		file    string
	}{
		{"database.dsn", &c.Database.DSN.Secret, c.Database.DSNFile},
		{"database.listen_dsn", &c.Database.ListenDSN.Secret, c.Database.ListenDSNFile},
		{"cache.redis.password", &redis.Password.Secret, redis.PasswordFile},
		{"cache.redis.sentinel_password", &redis.SentinelPassword.Secret, redis.SentinelPasswordFile},
	} {
		fileSetting := s.setting + "_file"
		if s.file == "" {
			continue
		}
		if s.value.Len() > 0 {
			problems.add(c.origins.of(fileSetting), fileSetting, "%s and %s are both set: remove one", s.setting, fileSetting)
			continue
		}
		if text, ok := c.secretFile(fileSetting, s.file, problems); ok {
			*s.value = authz.NewSecret(string(trimNewline(text)))
		}
	}
}

// File returns the path of the configuration file, whether it exists or not.
func (c *Config) File() string { return c.path }

// Files returns the files whose change is a change of the configuration, those with
// secrets included. Two kinds are left out: listeners read their TLS files again
// themselves, and new connections read the credentials for the stores.
func (c *Config) Files() []string {
	files := append([]string{c.path, c.Cache.SealingKeyFile}, c.Keys.PepperFiles...)
	files = append(files, c.OpenAPI.Files...)
	return slices.DeleteFunc(files, func(path string) bool { return path == "" })
}

// secretFile reads the file with a secret for a setting. It reports what is wrong with
// the file, and warns if every user of the machine can read it.
func (c *Config) secretFile(setting, path string, problems *faults) ([]byte, bool) {
	text, public, err := readSecret(path)
	if err != nil {
		problems.add(c.origins.of(setting), setting, "%s: %v", setting, err)
		return nil, false
	}
	if public {
		c.publicSecret(setting, path)
	}
	return text, true
}

func (c *Config) publicSecret(setting, path string) {
	c.warnings = append(c.warnings, fmt.Sprintf("%s: %s: %s can be read by every user of this machine: chmod o-r it", c.origins.of(setting), setting, path))
}

// KeepSecret writes a file with a secret atomically: a reader never finds only a part of
// it. If the file exists, it is left unchanged and the error is [fs.ErrExist].
func KeepSecret(path, secret string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // mode 0600
	if err != nil {
		return fmt.Errorf("%s can't be written: %w", path, err)
	}
	_, err = f.WriteString(secret)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = publish(f.Name(), path)
	}
	if err != nil {
		err = fmt.Errorf("%s can't be written: %w", path, err)
	}
	if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// publish gives a file its final name, unless that name is taken.
func publish(temporary, path string) error {
	err := os.Link(temporary, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(temporary, path) // the file system has no hard links
}

// readSecret returns the content of a file, and whether every user may read the file. Its
// error is one line that contains nothing of the content.
func readSecret(path string) (text []byte, public bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("%s can't be read: %w", path, reason(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("%s can't be read: %w", path, reason(err))
	}
	text, err = io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("%s can't be read: %w", path, reason(err))
	case len(bytes.TrimSpace(text)) == 0:
		return nil, false, fmt.Errorf("%s is empty: write the secret into it", path)
	case len(text) > maxSecretFile:
		return nil, false, fmt.Errorf("%s is over %d KiB: this is not a secret", path, maxSecretFile>>10)
	}
	return text, info.Mode().Perm()&0o004 != 0, nil
}

// trimNewline removes the line end that editors and echo append.
func trimNewline(text []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
}

// Peppers reads the pepper files. Without any, digests are plain SHA-256. With
// keys.require_pepper, keys with plain digests are rejected.
func (c *Config) Peppers() (*authz.Peppers, error) {
	var peppers []authz.Pepper
	var problems []error
	for _, path := range c.Keys.PepperFiles {
		text, _, err := readSecret(path)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		p, err := authz.NewPepper(binarySecret(text))
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", path, err))
			continue
		}
		peppers = append(peppers, p)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	set, err := authz.NewPeppers(peppers)
	if err != nil || !c.Keys.RequirePepper || len(peppers) == 0 { // without peppers validate reports the fault
		return set, err
	}
	return set.Required()
}

// SealingKeys reads the keys that seal records in Redis. In a text file each line is a
// key; any other file is one key as a whole. It returns nil if no file is configured.
func (c *Config) SealingKeys() (seal.Keys, error) {
	path := c.Cache.SealingKeyFile
	if path == "" {
		return nil, nil
	}
	text, _, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	lines := [][]byte{binarySecret(text)}
	if printable(text) {
		lines = bytes.Fields(text)
	}
	var keys seal.Keys
	for i, line := range lines {
		if len(line) < seal.MinKeyBytes {
			return nil, fmt.Errorf("%s holds less than %d bytes in key %d", path, seal.MinKeyBytes, i+1)
		}
		key, err := seal.NewKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// printable reports whether a secret is a text, not just bytes.
func printable(text []byte) bool {
	return bytes.IndexFunc(text, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\r' }) < 0
}

// binarySecret returns the secret in a file. The file may be a text with a line end, or
// exactly as many random bytes as are needed; the last of these may look like a line end.
func binarySecret(text []byte) []byte {
	if t := trimNewline(text); len(t) >= authz.MinPepperLength {
		return t
	}
	return text
}

// BootstrapKey reads the key in admin.bootstrap_key_file. It returns an empty secret if
// no file is configured, and an error for a text that does not have the form of a key.
func (c *Config) BootstrapKey() (authz.Secret, error) {
	if c.Admin.BootstrapKeyFile == "" {
		return authz.Secret{}, nil
	}
	text, _, err := readSecret(c.Admin.BootstrapKeyFile)
	if err != nil {
		return authz.Secret{}, err
	}
	format, err := c.KeyFormat()
	if err != nil {
		return authz.Secret{}, err
	}
	key := authz.NewSecret(string(bytes.TrimSpace(text)))
	if _, ok := format.Parse(key); !ok {
		return authz.Secret{}, fmt.Errorf("%s holds no key of the form %s_%s_…: write one there, or leave the setting out to have one made", c.Admin.BootstrapKeyFile, c.Keys.Brand, c.Keys.Environments[0])
	}
	return key, nil
}
