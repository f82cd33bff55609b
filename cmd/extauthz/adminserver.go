package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"extauthz/cmd/extauthz/internal/config"
)

// adminServer returns the address of the management API: --server or EXTAUTHZ_SERVER if
// one is set, else admin.listen of the configuration that a local serve reads. Faults in
// other sections of that configuration do not matter. secure is nil without TLS, and if
// the system's roots are to be trusted.
func (g *globals) adminServer() (address string, secure *tls.Config, err error) {
	if g.server != "" {
		return g.server, nil, nil
	}
	settings, err := g.load("admin")
	if err != nil {
		return "", nil, err
	}
	network, listen, err := config.ListenAddress(settings.Admin.Listen)
	if err != nil {
		return "", nil, err
	}
	if settings.Admin.TLS.Enabled() {
		if secure, err = ownCertificate(settings.Admin.TLS); err != nil {
			return "", nil, err
		}
	}
	switch {
	case network == "unix":
		return "unix:" + listen, secure, nil
	case secure != nil:
		return "https://" + dialable(listen), secure, nil
	default:
		return "http://" + dialable(listen), nil, nil
	}
}

// dialable turns an address to listen on into one to call: an address that stands for
// every interface becomes loopback.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// ownCertificate trusts exactly the certificate that the configuration names. The names
// in that certificate belong to the gateway's network, not to loopback, so they cannot be
// checked; and the administrator's key must not reach any other program that listens on
// the address. The same certificate is presented as the client's.
func ownCertificate(t config.TLS) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("admin.tls: %w", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{own},
		// This leaves out only the check against roots and names. VerifyConnection
		// compares the certificate, and the handshake verifies that the server has its
		// private key.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, own.Certificate[0]) {
				return errors.New("its certificate is not the one in admin.tls.cert_file; name the server with --server, or use its configuration")
			}
			return nil
		},
	}, nil
}
