package server

import (
	"errors"
	"fmt"
	"net"
	"os"

	"extauthz/cmd/extauthz/internal/config"
)

// listeners are where the service answers. The one for health is opened first; the
// others are when they can be served: a port that is bound and not served makes
// clients wait instead of turning elsewhere.
type listeners struct{ grpc, http, admin, ops net.Listener }

// listenOps opens the listener for health, after it has seen that the others can
// be opened: a port in use ends the start at once, whatever the database does.
func listenOps(c *config.Config) (listeners, error) {
	l, err := listenAll(c, nil)
	if err != nil {
		return listeners{}, err
	}
	ops := l.ops
	l.ops = nil
	l.close()
	return listeners{ops: ops}, nil
}

// listenAll opens all listeners, except ops if that is open already.
func listenAll(c *config.Config, ops net.Listener) (l listeners, err error) {
	var problems []error
	for _, x := range []struct {
		name, address string
		to            *net.Listener
	}{{"grpc.listen", c.GRPC.Listen, &l.grpc}, {"http.listen", c.HTTP.Listen, &l.http}, {"admin.listen", c.Admin.Listen, &l.admin}, {"ops.listen", c.Ops.Listen, &l.ops}} {
		if x.to == &l.ops && ops != nil {
			continue
		}
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
	if ops != nil {
		l.ops = ops
	}
	return l, nil
}

// removeStaleSocket removes a socket that no process answers on: what a killed
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
