package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"extauthz/cmd/extauthz/internal/config"
)

// tlsConfig returns nil where no certificate is configured. A set-up that fails
// is an error; later on, files that were exchanged are used from the next
// handshake on, and where they can't be (a certificate and a key that are written
// one after the other don't match for a moment) the last good ones stay.
func tlsConfig(t config.TLS, log *slog.Logger, protocols ...string) (*tls.Config, error) {
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
	first := c.good.Clone()
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil }
	return first, nil
}

// certificates are one listener's. Safe for concurrent use.
type certificates struct {
	settings  config.TLS
	files     []string
	protocols []string // that clients may agree on, by ALPN
	log       *slog.Logger

	mu    sync.Mutex
	stamp string // of the files that were read last
	good  *tls.Config
}

// current looks at the files and reads them if they have changed.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp := stampOf(c.files)
	if stamp == c.stamp {
		return c.good
	}
	next, err := loadTLS(c.settings, c.protocols)
	if err != nil {
		c.log.Warn("certificates that have changed can't be used: the last good ones stay", "error", err)
	} else {
		c.log.Info("certificates exchanged", "cert_file", c.settings.CertFile)
		c.good = next
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
	pem, err := os.ReadFile(t.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls: %s holds no certificate", t.ClientCAFile)
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
