package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	validity "extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/config"
)

// certificates holds one listener's certificates; nil means plain text. Safe for
// concurrent use.
type certificates struct {
	settings  config.TLS
	files     []string
	protocols []string // that clients may choose by ALPN
	log       *slog.Logger

	mu    sync.Mutex
	stamp string // of the files that were last read
	good  *tls.Config
	// chain and authorities are the certificates in good.
	chain, authorities []*x509.Certificate
	err                error // why changed files can't be used; nil if they can
	errSince           time.Time
}

// newCertificates reads a listener's files. It returns nil if no certificate is
// configured, and an error if the files can't be used. Files that change later are used
// from the next handshake on. If they can't be used, the last good ones stay: a
// certificate and its key are written one after the other, and do not match for a moment.
func newCertificates(t config.TLS, log *slog.Logger, protocols ...string) (*certificates, error) {
	if !t.Enabled() {
		return nil, nil
	}
	c := &certificates{settings: t, log: log, protocols: protocols}
	for _, path := range []string{t.CertFile, t.KeyFile, t.ClientCAFile} {
		if path != "" {
			c.files = append(c.files, path)
		}
	}
	c.stamp = stampOf(c.files)
	var err error
	if c.good, err = loadTLS(t, protocols); err != nil {
		return nil, err
	}
	c.parse()
	return c, nil
}

// parse parses the certificates in good again, to judge them. The caller holds mu, or
// nothing else has access to c yet.
func (c *certificates) parse() {
	c.chain, c.authorities = nil, nil
	for _, der := range c.good.Certificates[0].Certificate {
		if x, err := x509.ParseCertificate(der); err == nil {
			c.chain = append(c.chain, x)
		}
	}
	if c.settings.ClientCAFile != "" {
		c.authorities, _ = validity.Read(c.settings.ClientCAFile) // loadTLS has just read it
	}
}

// inUse returns the certificates in use, and what is wrong with newer files.
func (c *certificates) inUse() (chain, authorities []*x509.Certificate, since time.Time, refused error) {
	c.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chain, c.authorities, c.errSince, c.err
}

// newSecure reads the certificates of all listeners, by section.
func newSecure(c *config.Config, log *slog.Logger) (map[string]*certificates, error) {
	secure := map[string]*certificates{}
	for _, l := range c.Listeners() {
		protocol := "http/1.1" // the only protocol of these listeners: see inbound.Listener.Guard
		if l.Section == "grpc" {
			protocol = "h2"
		}
		var err error
		if secure[l.Section], err = newCertificates(l.TLS, log, protocol); err != nil {
			return nil, fmt.Errorf("%s.%w", l.Section, err)
		}
	}
	return secure, nil
}

// config returns the configuration for a server; nil for plain text.
func (c *certificates) config() *tls.Config {
	if c == nil {
		return nil
	}
	first := c.current().Clone()
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil }
	return first
}

// current returns the configuration in use. It reads the files again if they have
// changed.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp := stampOf(c.files)
	if stamp == c.stamp {
		return c.good
	}
	next, err := loadTLS(c.settings, c.protocols)
	if c.err = err; err != nil {
		c.errSince = time.Now()
	} else {
		c.log.Info("certificates exchanged", "cert_file", c.settings.CertFile)
		c.good = next
		c.parse()
	}
	c.stamp = stamp
	return c.good
}

func loadTLS(t config.TLS, protocols []string) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, NextProtos: protocols}
	if t.ClientCAFile == "" {
		return c, nil
	}
	if c.ClientCAs, err = validity.Pool(t.ClientCAFile); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if len(t.AllowedSANs) > 0 {
		c.VerifyConnection = func(s tls.ConnectionState) error { return allowedClient(s, t.AllowedSANs) }
	}
	return c, nil
}

func allowedClient(s tls.ConnectionState, allowed []string) error {
	for _, name := range allowed {
		for _, dns := range s.PeerCertificates[0].DNSNames {
			if dns == name {
				return nil
			}
		}
		for _, uri := range s.PeerCertificates[0].URIs {
			if uri.String() == name {
				return nil
			}
		}
	}
	return errors.New("client certificate carries none of the allowed names")
}
