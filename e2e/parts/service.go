package parts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildDir is where the binary of this test process is.
var buildDir = filepath.Join(os.TempDir(), fmt.Sprintf("extauthz-build-%d", os.Getpid()))

// RemoveBuild removes the binary; TestMain calls it last.
func RemoveBuild() { _ = os.RemoveAll(buildDir) }

// build compiles the binary once in each test process, with the race detector.
var build = sync.OnceValues(func() (string, error) {
	if isolated() {
		return filepath.Join(os.Getenv(isolatedVariable), "extauthz"), nil
	}
	path := filepath.Join(buildDir, "extauthz")
	args := []string{"build", "-race", "-o", path, "extauthz/cmd/extauthz"}
	if os.Getenv("E2E_PLAIN_BUILD") != "" { // figures are taken without the race detector
		args = append(args[:1], args[2:]...)
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// Binary is the program under test.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// Service is a running extauthz with a data folder and ports of its own.
type Service struct {
	*process
	Binary, DataDir, GRPC string
	HTTP                  string // host:port of the HTTP flavour and forward-auth
	Configuration         string // the path of its configuration file
	Admin, Ops            string // host:port
	env                   []string
	opsScheme             string
	secrets               *[]string // keys that it made: its log must not contain them
}

// unixListener finds the socket for gRPC that a configuration names.
var unixListener = regexp.MustCompile(`grpc: {listen: "(unix:[^"]+)"`)

// StartService runs the service with a configuration (YAML) and waits until it is ready.
// The configuration sets no listeners, except a Unix socket for gRPC.
func StartService(tb testing.TB, configuration string) *Service {
	tb.Helper()
	return StartServiceOn(tb, "127.0.0.1", configuration)
}

// LaunchService is StartService without the wait: see [Service.AwaitReady].
func LaunchService(tb testing.TB, configuration string) *Service {
	tb.Helper()
	s := newService(tb, "127.0.0.1", configuration)
	s.Launch()
	return s
}

// StartBinary is StartService for another build.
func StartBinary(tb testing.TB, binary, configuration string) *Service {
	tb.Helper()
	s := newService(tb, "127.0.0.1", configuration)
	s.Binary = binary
	s.run()
	return s
}

// StartServiceOn is StartService with the gRPC listener on another address of this
// machine.
func StartServiceOn(tb testing.TB, address, configuration string) *Service {
	tb.Helper()
	s := newService(tb, address, configuration)
	s.run()
	return s
}

func newService(tb testing.TB, address, configuration string) *Service {
	tb.Helper()
	binary, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	var ports [4]int
	for i := range ports {
		if ports[i], err = FreePort(); err != nil {
			tb.Fatal(err)
		}
	}
	s := &Service{process: &process{tb: tb}, secrets: new([]string), Binary: binary, DataDir: filepath.Join(tb.TempDir(), "data"), GRPC: fmt.Sprintf("%s:%d", address, ports[0])}
	s.Admin, s.Ops = fmt.Sprintf("127.0.0.1:%d", ports[1]), fmt.Sprintf("127.0.0.1:%d", ports[2])
	s.HTTP = fmt.Sprintf("127.0.0.1:%d", ports[3])
	s.opsScheme = "http"
	if strings.Contains(configuration, "ops: {tls:") {
		s.opsScheme = "https"
	}
	if socket := unixListener.FindStringSubmatch(configuration); socket != nil {
		s.GRPC = socket[1]
	}
	file := filepath.Join(tb.TempDir(), "extauthz.yaml")
	s.Configuration = file
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		tb.Fatal(err)
	}
	if !strings.Contains(configuration, "drain_delay") {
		s.env = []string{"EXTAUTHZ_GRPC__DRAIN_DELAY=0s"} // no gateway has to notice the end
	}
	s.env = append(s.env,
		"GORACE=atexit_sleep_ms=50", // by default a second, for which each command would wait
		"EXTAUTHZ_CONFIG="+file, "EXTAUTHZ_DATA_DIR="+s.DataDir, "EXTAUTHZ_GRPC__LISTEN="+s.GRPC,
		"EXTAUTHZ_ADMIN__LISTEN="+s.Admin, "EXTAUTHZ_SERVER=http://"+s.Admin,
		"EXTAUTHZ_OPS__LISTEN="+s.Ops, "EXTAUTHZ_HTTP__LISTEN="+s.HTTP,
	)
	return s
}

func (s *Service) run() {
	s.tb.Helper()
	s.Launch()
	s.AwaitReady()
}

// Launch starts the service on the same data after Stop or Kill, and waits for nothing.
func (s *Service) Launch() {
	s.tb.Helper()
	s.process = start(s.tb, "extauthz", s.env, s.Binary, "serve")
	s.tb.Cleanup(s.checkLog) // runs before the process is ended
}

// AwaitReady waits until the service is ready.
func (s *Service) AwaitReady() {
	s.tb.Helper()
	s.await(s.opsScheme + "://" + s.Ops + "/readyz")
}

// Ended waits until the service has ended by itself and returns its exit status.
func (s *Service) Ended() int {
	s.tb.Helper()
	select {
	case <-s.done:
	case <-time.After(startTime):
		s.tb.Fatal("the service did not end")
	}
	return s.cmd.ProcessState.ExitCode()
}

// Restart runs the service again on the same data after Stop or Kill.
func (s *Service) Restart() { s.run() }

// Log is the service's log so far.
func (s *Service) Log() string {
	s.tb.Helper()
	said, err := os.ReadFile(s.log)
	if err != nil {
		s.tb.Fatal(err)
	}
	return string(said)
}

// Signal sends the service a signal.
func (s *Service) Signal(signal syscall.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.tb.Fatal(err)
	}
}

// On returns the service for a subtest, to which failures are then reported.
func (s *Service) On(tb testing.TB) *Service {
	p := *s.process
	p.tb = tb
	c := *s
	c.process = &p
	return &c
}

// CLI runs a command against the service and returns its output.
func (s *Service) CLI(args ...string) (stdout, stderr string, err error) {
	cmd := s.Command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// Command returns a command against the service that does not run yet.
func (s *Service) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.Binary, args...)
	cmd.Env, cmd.Dir = append(os.Environ(), s.env...), s.tb.TempDir()
	return cmd
}

// Key is what `keys create -o json` prints.
type Key struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Prefix string `json:"prefix"`
}

// NewKey makes a key by the command line.
func (s *Service) NewKey(flags ...string) Key {
	s.tb.Helper()
	args := append([]string{"keys", "create", "-o", "json", "--user", "alice", "--name", "laptop"}, flags...)
	out, errOut, err := s.CLI(args...)
	if err != nil {
		s.tb.Fatalf("keys create: %v: %s", err, errOut)
	}
	var k Key
	if err := json.Unmarshal([]byte(out), &k); err != nil || k.Key == "" {
		s.tb.Fatalf("keys create printed no key: %v", err)
	}
	*s.secrets = append(*s.secrets, k.Key[len(k.Prefix)+1:])
	return k
}

// Must runs a command that has to succeed.
func (s *Service) Must(args ...string) string {
	s.tb.Helper()
	out, errOut, err := s.CLI(args...)
	if err != nil {
		s.tb.Fatalf("%s: %v: %s", strings.Join(args, " "), err, errOut)
	}
	return out
}

// Stop ends the service as a platform does, and fails the test unless it ended without an
// error.
func (s *Service) Stop() {
	s.tb.Helper()
	s.end(syscall.SIGTERM)
	var exit *exec.ExitError
	if errors.As(s.err, &exit) {
		s.tb.Errorf("the service ended with %v", s.err)
	}
}

// Kill ends the service as a crash does.
func (s *Service) Kill() { s.end(syscall.SIGKILL) }

func (s *Service) checkLog() {
	said, err := os.ReadFile(s.log)
	if err != nil {
		s.tb.Error(err)
		return
	}
	admin, _ := os.ReadFile(filepath.Join(s.DataDir, "admin.key"))
	for _, secret := range append(*s.secrets, strings.TrimSpace(string(admin))) {
		if secret != "" && bytes.Contains(said, []byte(secret)) {
			s.tb.Error("the service's log holds a key")
		}
	}
	if bytes.Contains(said, []byte("DATA RACE")) {
		s.tb.Error("the race detector found something: see the service's log")
	}
}
