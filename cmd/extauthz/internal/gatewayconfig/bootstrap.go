package gatewayconfig

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Bootstrap holds the values of a complete Envoy configuration. Addresses are
// host:port, or unix:PATH.
type Bootstrap struct {
	Settings        // Envoy answers only for Hosts, and 404 for other hosts
	Listen   string // where Envoy listens
	Upstream string // the API
	Service  string // this service's gRPC listener
	Admin    string // Envoy's own admin listener; "": off
	Ready    string // listener for probes, whose /ready is 200 until Envoy is about to end; "": off
	TLS      BootstrapTLS
}

// BootstrapTLS configures TLS from Envoy to this service; without Authorities there is
// none. Paths are those in Envoy's file system. Envoy reads a changed certificate when it
// starts or, with Secrets, at once.
type BootstrapTLS struct {
	Authorities      string // PEM file with the authorities of this service's certificate
	Name             string // DNS name in that certificate
	Certificate, Key string // PEM files of Envoy's client certificate; "": none
	// Secrets is a folder with authorities.yaml and client.yaml. They name the files
	// above as secrets (SDS), and Envoy reads changes of those while it runs; "": none.
	Secrets string
}

// WriteBootstrap writes an Envoy configuration that works as printed and fails closed.
func WriteBootstrap(w io.Writer, b Bootstrap) error {
	problems := b.problems()
	for _, a := range []struct{ name, value string }{{"listen", b.Listen}, {"upstream", b.Upstream}, {"service", b.Service}, {"admin", b.Admin}, {"ready", b.Ready}} {
		if (a.name == "admin" || a.name == "ready") && a.value == "" {
			continue
		}
		if _, err := envoyAddress(a.value); err != nil {
			problems = append(problems, fmt.Errorf("%s %q: %w", a.name, a.value, err))
		}
	}
	problems = append(problems, b.TLS.problems()...)
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	return execute(w, "bootstrap", b)
}

func (t BootstrapTLS) problems() (problems []error) {
	for _, path := range []string{t.Authorities, t.Certificate, t.Key, t.Secrets} {
		if strings.ContainsAny(path, "\"\\{}\n") {
			problems = append(problems, fmt.Errorf("%q can't be written into the configuration: choose a path without quotes, braces and backslashes", path))
		}
	}
	switch {
	case (t.Certificate == "") != (t.Key == ""):
		problems = append(problems, errors.New("a client certificate and its key go together: name both"))
	case t.Authorities == "" && t.Name+t.Certificate != "":
		problems = append(problems, errors.New("a name or client certificate without authorities: name the file with those that sign this service's certificate"))
	case t.Authorities != "" && (t.Name == "" || strings.Trim(t.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != ""):
		problems = append(problems, fmt.Errorf("name %q: write the DNS name in this service's certificate, since any other certificate of the same authorities would do", t.Name))
	}
	return problems
}

// envoyAddress returns an address in the form of Envoy's YAML. It refuses characters that
// would need to be escaped there.
func envoyAddress(address string) (string, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" || strings.ContainsAny(path, "\"\\{}\n") {
			return "", errors.New("write unix:PATH")
		}
		return `{pipe: {path: "` + path + `"}}`, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", errors.New("write host:port or unix:PATH")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("write a port from 1 to 65535")
	}
	if host == "" {
		host = "0.0.0.0"
	}
	for _, c := range host {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:", c) {
			return "", errors.New("write a host name or an address")
		}
	}
	return fmt.Sprintf(`{socket_address: {address: "%s", port_value: %d}}`, host, n), nil
}

// discovery returns Envoy's cluster type: names are looked up, addresses are not.
func discovery(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return "STATIC"
	}
	host, _, _ := net.SplitHostPort(address)
	if _, err := netip.ParseAddr(host); err == nil {
		return "STATIC"
	}
	return "STRICT_DNS"
}
