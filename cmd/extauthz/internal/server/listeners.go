package server

import (
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
