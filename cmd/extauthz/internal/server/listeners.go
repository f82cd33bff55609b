package server

import (
	"errors"
	"fmt"
	"net"
	"os"

	"extauthz/cmd/extauthz/internal/config"
)

// listeners holds the listeners of the service. ops is opened first. The others are
// opened only when they can be served: a port that is bound but not served makes clients
// wait instead of trying another replica.
type listeners struct{ grpc, http, admin, ops net.Listener }

// listenOps opens the ops listener after it has checked that the others can be opened. A
// port in use thus ends the start at once, whatever the state of the database.
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

// listenAll opens all listeners, except ops if that is already open.
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

// removeStaleSocket removes a socket on which no process answers, such as a killed
// process leaves.
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
