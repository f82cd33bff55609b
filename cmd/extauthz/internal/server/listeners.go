package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"extauthz/cmd/extauthz/internal/config"
)

// listeners are opened before anything is served, so that a port in use ends the
// start with nothing half done.
type listeners struct{ grpc, http, admin, ops net.Listener }

func listen(c *config.Config) (l listeners, err error) {
	var problems []error
	for _, x := range []struct {
		name, address string
		to            *net.Listener
	}{{"grpc.listen", c.GRPC.Listen, &l.grpc}, {"http.listen", c.HTTP.Listen, &l.http}, {"admin.listen", c.Admin.Listen, &l.admin}, {"ops.listen", c.Ops.Listen, &l.ops}} {
		network, address, err := config.ListenAddress(x.address)
		if err == nil {
			if network == "unix" {
				removeStaleSocket(address)
			}
			*x.to, err = net.Listen(network, address)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w: choose another address, or end what uses it", x.name, err))
		}
	}
	if len(problems) > 0 {
		l.close()
		return listeners{}, errors.Join(problems...)
	}
	return l, nil
}

// removeStaleSocket removes a socket that nobody answers on: what a killed
// process leaves behind.
func removeStaleSocket(path string) {
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		return
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return
	}
	_ = os.Remove(path)
}

func (l listeners) close() {
	for _, x := range []net.Listener{l.grpc, l.http, l.admin, l.ops} {
		if x != nil {
			_ = x.Close()
		}
	}
}

// tlsConfig returns nil where no certificate is configured. The files are read
// at each handshake, so that a certificate that was exchanged is served without
// a restart; a bad exchange fails handshakes and not running connections.
func tlsConfig(t config.TLS) (*tls.Config, error) {
	if !t.Enabled() {
		return nil, nil
	}
	load := func() (*tls.Config, error) {
		certificate, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
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
	first, err := load() // a failed set-up stops the program
	if err != nil {
		return nil, err
	}
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return load() }
	return first, nil
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
