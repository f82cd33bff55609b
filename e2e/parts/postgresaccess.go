package parts

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver that databases are made with
)

// RequirePassword makes the server require a password from a role on every database,
// instead of trusting it.
func (p *Postgres) RequirePassword(role string) error {
	return p.firstRule("host all " + role + " 127.0.0.1/32 scram-sha-256")
}

// RequireCertificate makes the server use TLS with a certificate of the authority. It
// also requires from a role a client certificate of the same authority with the role as
// its common name.
func (p *Postgres) RequireCertificate(tb testing.TB, a *Authority, role string) error {
	dir := filepath.Join(p.dir, "tls")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	c := a.Issue(dir, "localhost")
	authorities, err := os.ReadFile(c.CAFile)
	if err != nil {
		return err
	}
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, authorities, 0o600); err != nil {
		return err
	}
	if p.owner != nil {
		for _, path := range []string{dir, ca, c.CertFile, c.KeyFile} {
			if err := os.Chown(path, int(p.owner.Credential.Uid), int(p.owner.Credential.Gid)); err != nil {
				return err
			}
		}
	}
	if err := p.sql("ALTER SYSTEM SET ssl_cert_file = '"+c.CertFile+"'", "ALTER SYSTEM SET ssl_key_file = '"+c.KeyFile+"'",
		"ALTER SYSTEM SET ssl_ca_file = '"+ca+"'", "ALTER SYSTEM SET ssl = on"); err != nil {
		return err
	}
	return p.firstRule("hostssl all " + role + " 127.0.0.1/32 cert")
}

// firstRule puts a line before all others of pg_hba.conf. Tests that share the server may
// call it at the same time: no test loses another one's line, and no reload reads half a
// file.
func (p *Postgres) firstRule(line string) error {
	p.rules.Lock()
	defer p.rules.Unlock()
	path := filepath.Join(p.data(), "pg_hba.conf")
	rules, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append([]byte(line+"\n"), rules...), 0o600); err != nil {
		return err
	}
	if p.owner != nil {
		if err := os.Chown(path+".new", int(p.owner.Credential.Uid), int(p.owner.Credential.Gid)); err != nil {
			return err
		}
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return p.sql("SELECT pg_reload_conf()")
}

// ReadOnly makes the server refuse writes, in running sessions too, or accept them again.
func (p *Postgres) ReadOnly(on bool) error {
	return p.sql(fmt.Sprintf("ALTER SYSTEM SET default_transaction_read_only = %t", on), "SELECT pg_reload_conf()")
}
