package parts

import (
	"fmt"
	"net"
	"os"
	"sync"
)

// The ports are below the range from which the kernel takes those of outgoing
// connections and of port 0 (32768 and up, net.ipv4.ip_local_port_range): one of these
// could otherwise take a port before the program that it was chosen for starts.
const (
	firstPort = 20_000
	portCount = 12_000
	portSteps = 331 // the distance between the first ports of consecutive processes
)

var ports = struct {
	sync.Mutex
	given int
}{}

// FreePort returns a TCP port of loopback without a listener. Within a process it returns
// no port twice until it has returned all of them. Processes that run at the same time
// begin at different ports.
func FreePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	var last error
	for range portCount {
		port := firstPort + (os.Getpid()*portSteps+ports.given)%portCount
		ports.given++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("no port of loopback is free: %w", last)
}
