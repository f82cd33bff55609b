package config

import (
	"crypto/x509"
	"time"

	"extauthz/cmd/extauthz/internal/certificates"
)

// CertificateFile is a file of certificates that the configuration names.
type CertificateFile struct {
	Setting, Path string
	// Authorities: the file holds authorities, one of which is enough. Otherwise every
	// certificate in it is needed.
	Authorities bool
}

// CertificateFiles returns all files of certificates that are configured.
func (c *Config) CertificateFiles() []CertificateFile {
	var files []CertificateFile
	add := func(setting, path string, authorities bool) {
		if path != "" {
			files = append(files, CertificateFile{setting, path, authorities})
		}
	}
	for _, l := range c.Listeners() {
		add(l.Section+".tls.cert_file", l.TLS.CertFile, false)
		add(l.Section+".tls.client_ca_file", l.TLS.ClientCAFile, true)
	}
	add("cache.redis.tls.cert_file", c.Cache.Redis.TLS.CertFile, false)
	add("cache.redis.tls.ca_file", c.Cache.Redis.TLS.CAFile, true)
	return files
}

// Judge reads the file, and returns the state of its certificates and a text about why
// they are not valid.
func (f CertificateFile) Judge(now time.Time) (certificates.State, string, error) {
	all, err := certificates.Read(f.Path)
	if err != nil {
		return certificates.Invalid, "", err
	}
	state, text := f.by()(now, all)
	return state, text, nil
}

func (f CertificateFile) by() func(time.Time, []*x509.Certificate) (certificates.State, string) {
	if f.Authorities {
		return certificates.JudgeAny
	}
	return certificates.Judge
}

// CertificateWarnings returns a line for each file whose certificates are not valid now,
// or will soon end. [Config.Warnings] leaves these out, because a running service reports
// them as conditions.
func (c *Config) CertificateWarnings(now time.Time) (lines []string) {
	for _, f := range c.CertificateFiles() {
		if _, text, err := f.Judge(now); err == nil && text != "" {
			lines = append(lines, c.origins.of(f.Setting)+": "+f.Setting+": "+text)
		}
	}
	return lines
}
