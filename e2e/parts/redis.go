package parts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ErrNoRedis means that no Redis is installed.
var ErrNoRedis = errors.New("no Redis is installed: run scripts/install-parts.sh redis")

// Redis is a throw-away server on loopback that keeps nothing on disk.
type Redis struct {
	*process
	tb      testing.TB
	program string
	args    []string
	port    int
	address string
}

// StartRedis starts a server that ends with the test; args are additional arguments of
// redis-server, such as --maxmemory 2mb. Without Redis the test is skipped; if CI is set,
// it fails.
func StartRedis(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	port := freePort(tb)
	return startRedis(tb, port, append([]string{"--port", fmt.Sprint(port)}, args...)...)
}

func freePort(tb testing.TB) int {
	tb.Helper()
	port, err := FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

func startRedis(tb testing.TB, port int, args ...string) *Redis {
	tb.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		Missing(tb, ErrNoRedis)
	}
	r := &Redis{tb: tb, program: program, port: port, address: fmt.Sprintf("127.0.0.1:%d", port)}
	r.args = append([]string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", tb.TempDir()}, args...)
	r.Restart()
	return r
}

// Addr is host:port.
func (r *Redis) Addr() string { return r.address }

// Restart starts the server again, empty, on its port, after [Redis.Kill].
func (r *Redis) Restart() {
	r.tb.Helper()
	r.process = start(r.tb, "redis", nil, r.program, r.args...)
	r.tb.Cleanup(r.Thaw) // runs before the process is ended
	r.awaitPort()
}

func (r *Redis) awaitPort() {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := Eventually(ctx, func() error {
		c, err := net.Dial("tcp", r.address)
		if err == nil {
			err = c.Close()
		}
		return err
	}); err != nil {
		r.tb.Fatalf("redis is not ready: %v", err)
	}
}

// Kill ends the server with SIGKILL.
func (r *Redis) Kill() { r.end(syscall.SIGKILL) }

// Freeze suspends the server; its connections stay open.
func (r *Redis) Freeze() { _ = r.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw resumes it.
func (r *Redis) Thaw() { _ = r.cmd.Process.Signal(syscall.SIGCONT) }

// Do sends one command and returns the first line of the answer.
func (r *Redis) Do(words ...string) (string, error) {
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, strings.Join(words, " ")+"\r\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// Info returns a section of the server's INFO.
func (r *Redis) Info(section string) (string, error) {
	out, err := exec.Command("redis-cli", "-h", "127.0.0.1", "-p", fmt.Sprint(r.port), "info", section).Output()
	return string(out), err
}

// RedisTLS is a server that accepts only TLS.
type RedisTLS struct {
	*Redis
	Certificates
}

// StartRedisTLS starts such a server, with a certificate for 127.0.0.1.
func StartRedisTLS(tb testing.TB) RedisTLS {
	tb.Helper()
	c := NewCertificates(tb)
	port := freePort(tb)
	return RedisTLS{startRedis(tb, port, "--port", "0", "--tls-port", fmt.Sprint(port), "--tls-cert-file", c.CertFile,
		"--tls-key-file", c.KeyFile, "--tls-ca-cert-file", c.CAFile, "--tls-auth-clients", "no"), c}
}

// StartRedisMutualTLS starts a server that accepts only TLS, with certificates of the
// authority on both sides.
func StartRedisMutualTLS(tb testing.TB, a *Authority) *Redis {
	tb.Helper()
	c := a.Issue(tb.TempDir(), "localhost")
	port := freePort(tb)
	return startRedis(tb, port, "--port", "0", "--tls-port", fmt.Sprint(port), "--tls-cert-file", c.CertFile,
		"--tls-key-file", c.KeyFile, "--tls-ca-cert-file", c.CAFile, "--tls-auth-clients", "yes")
}

// StartRedisCluster starts a Cluster of three masters and returns them.
func StartRedisCluster(tb testing.TB) []*Redis {
	tb.Helper()
	var nodes []*Redis
	args := []string{"--cluster", "create"}
	for range 3 {
		// By default, the bus of a node is on its port + 10000, among the ports of
		// outgoing connections.
		port, bus := freePort(tb), freePort(tb)
		n := startRedis(tb, port, "--port", fmt.Sprint(port), "--cluster-port", fmt.Sprint(bus),
			"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000")
		nodes, args = append(nodes, n), append(args, n.Addr())
	}
	if out, err := exec.Command("redis-cli", append(args, "--cluster-yes")...).CombinedOutput(); err != nil {
		tb.Fatalf("redis-cli: %v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	err := Eventually(ctx, func() error {
		for _, n := range nodes {
			out, err := exec.Command("redis-cli", "-p", fmt.Sprint(n.port), "cluster", "info").Output()
			if err != nil || !strings.Contains(string(out), "cluster_state:ok") {
				return fmt.Errorf("node %s: %w", n.Addr(), errors.Join(err, errors.New("cluster is not ok")))
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return nodes
}

// Sentinel is a master and a replica, watched by three Sentinels.
type Sentinel struct {
	Master, Replica *Redis
	Name            string   // the master's name for the Sentinels
	Addresses       []string // the Sentinels' addresses

	processes []*process
}

// Freeze suspends a Sentinel, by its index in Addresses, until
// the test ends.
func (s *Sentinel) Freeze(tb testing.TB, n int) {
	tb.Helper()
	p := s.processes[n].cmd.Process
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Signal(syscall.SIGCONT) })
}

// StartRedisSentinel starts them and waits until a failover would succeed.
func StartRedisSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	return StartSecuredSentinel(tb, "", "")
}

// StartSecuredSentinel is StartRedisSentinel with a password for the default user of the
// Sentinels and one for the servers, unless they are empty.
func StartSecuredSentinel(tb testing.TB, sentinelPassword, password string) *Sentinel {
	tb.Helper()
	var secured []string
	if password != "" {
		secured = []string{"--requirepass", password, "--masterauth", password}
	}
	s := &Sentinel{Name: "main", Master: StartRedis(tb, append(secured, "--repl-diskless-sync-delay", "0")...)}
	s.Replica = StartRedis(tb, append(secured, "--replicaof", "127.0.0.1", fmt.Sprint(s.Master.port))...)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	until := func(what string, port int, secret string, words []string, want string) {
		tb.Helper()
		before := []string{"-p", fmt.Sprint(port)}
		if secret != "" {
			before = append(before, "--no-auth-warning", "-a", secret)
		}
		err := Eventually(ctx, func() error {
			out, err := exec.Command("redis-cli", append(before, words...)...).Output()
			if err == nil && !strings.Contains(string(out), want) {
				err = fmt.Errorf("%s: no %q yet", what, want)
			}
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	until("replica", s.Master.port, password, []string{"info", "replication"}, "state=online")
	var ports []int
	for range 3 {
		port := freePort(tb)
		file := filepath.Join(tb.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\nsentinel monitor %s 127.0.0.1 %d 2\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 3000\n",
			port, s.Name, s.Master.port, s.Name, s.Name)
		if sentinelPassword != "" {
			text += fmt.Sprintf("requirepass %s\nsentinel sentinel-pass %s\n", sentinelPassword, sentinelPassword)
		}
		if password != "" {
			text += fmt.Sprintf("sentinel auth-pass %s %s\n", s.Name, password)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		s.processes = append(s.processes, start(tb, "sentinel", nil, s.Master.program, file, "--sentinel"))
		ports, s.Addresses = append(ports, port), append(s.Addresses, fmt.Sprintf("127.0.0.1:%d", port))
	}
	for _, port := range ports {
		until("sentinel", port, sentinelPassword, []string{"sentinel", "master", s.Name}, "num-other-sentinels\n2")
		until("sentinel", port, sentinelPassword, []string{"sentinel", "master", s.Name}, "num-slaves\n1")
	}
	return s
}
