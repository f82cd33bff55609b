//go:build compose

package compose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// gateway is the address at which compose.yaml publishes Envoy.
const gateway = "http://127.0.0.1:10000"

// stack is compose.yaml, running under a project name of its own.
type stack struct {
	t       *testing.T
	compose []string // docker-compose, or docker compose
	docker  string
	env     []string
}

func start(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, docker: first(os.Getenv("DOCKER"), "docker"), compose: strings.Fields(first(os.Getenv("COMPOSE"), "docker compose")),
		env: []string{fmt.Sprintf("COMPOSE_PROJECT_NAME=extauthz-e2e-%d", os.Getpid())}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the containers said:\n%s", s.run("--profile", "observe", "--profile", "ratelimit", "logs", "--no-color", "--tail=15"))
		}
		s.run("--profile", "observe", "--profile", "ratelimit", "--profile", "tools", "down", "-v", "--remove-orphans", "-t", "5")
	})
	s.run("up", "-d")
	s.awaitHealthy()
	return s
}

func first(texts ...string) string {
	i := slices.IndexFunc(texts, func(s string) bool { return s != "" })
	return texts[i]
}

// on returns the stack for a subtest.
func (s *stack) on(t *testing.T) *stack {
	c := *s
	c.t = t
	return &c
}

// run calls compose and returns what it wrote to its standard output.
func (s *stack) run(args ...string) string { s.t.Helper(); return s.call(s.compose, args) }

// engine calls docker.
func (s *stack) engine(args ...string) string { s.t.Helper(); return s.call([]string{s.docker}, args) }

// logs returns what a container has written to both of its outputs.
func (s *stack) logs(c container) string {
	s.t.Helper()
	said, err := exec.Command(s.docker, "logs", c.ID).CombinedOutput()
	if err != nil {
		s.t.Fatalf("logs of %s: %v %s", c.Name, err, said)
	}
	return string(said)
}

func (s *stack) call(program, args []string) string {
	s.t.Helper()
	out, complaints, err := s.try(program, args)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", strings.Join(program, " "), strings.Join(args, " "), err, complaints)
	}
	return out
}

// try is call for commands that may end with another status than 0.
func (s *stack) try(program, args []string) (stdout, stderr string, err error) {
	c := exec.Command(program[0], append(program[1:len(program):len(program)], args...)...)
	c.Dir, c.Env = "../..", append(os.Environ(), s.env...)
	var out, complaints bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaints
	err = c.Run()
	return strings.TrimSpace(out.String()), complaints.String(), err
}

// extauthz runs a command in a replica; they are numbered from 1.
func (s *stack) extauthz(replica int, args ...string) string {
	s.t.Helper()
	return s.run(append([]string{"exec", "-T", fmt.Sprint("--index=", replica), "extauthz", "extauthz"}, args...)...)
}

// newKey issues a key and returns it and its id.
func (s *stack) newKey(args ...string) (key, id string) {
	s.t.Helper()
	var k struct{ Key, ID string }
	text := s.extauthz(1, append([]string{"keys", "create", "--user", "u", "--name", "n", "--scope", "orders:read", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		s.t.Fatal(err)
	}
	return k.Key, k.ID
}

// demoKey makes a key as README.md describes.
func (s *stack) demoKey() string { s.t.Helper(); return s.run("run", "--rm", "-T", "demo-key") }

// container is what the engine reports of a container.
type container struct {
	ID, Name string
	State    struct {
		Running  bool
		ExitCode int
		Health   *struct{ Status string }
	}
	Config struct {
		User   string
		Env    []string
		Labels map[string]string
	}
	HostConfig struct {
		ReadonlyRootfs       bool
		CapDrop, SecurityOpt []string
		PortBindings         map[string][]struct{ HostIP string }
	}
}

func (c container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// containers returns those of the project, including ended ones.
func (s *stack) containers() []container {
	s.t.Helper()
	project := strings.TrimPrefix(s.env[0], "COMPOSE_PROJECT_NAME=")
	ids := strings.Fields(s.engine("ps", "-aq", "--filter", "label=com.docker.compose.project="+project))
	var found []container
	if err := json.Unmarshal([]byte(s.engine(append([]string{"inspect"}, ids...)...)), &found); err != nil {
		s.t.Fatal(err)
	}
	return found
}

// awaitHealthy waits until every container with a health check is healthy, the other
// services run, and the one-time jobs have succeeded.
func (s *stack) awaitHealthy() {
	s.t.Helper()
	s.eventually(func() error {
		for _, c := range s.containers() {
			switch once := c.service() == "setup" || c.service() == "seed"; {
			case once && (c.State.Running || c.State.ExitCode != 0):
				return fmt.Errorf("%s has not ended well", c.Name)
			case !once && !c.State.Running:
				return fmt.Errorf("%s does not run", c.Name)
			case !once && c.State.Health != nil && c.State.Health.Status != "healthy":
				return fmt.Errorf("%s is %s", c.Name, c.State.Health.Status)
			}
		}
		return nil
	})
}

// eventually calls try until it succeeds, for at most two minutes.
func (s *stack) eventually(try func() error) {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	s.t.Fatalf("not within two minutes: %v", err)
}

var client = &http.Client{Timeout: 10 * time.Second}

// ask sends a request through a gateway.
func ask(method, url, key string) (status int, body string, err error) {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return 0, "", err
	}
	if key != "" {
		req.Header.Set("x-api-key", key)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// want sends a request and fails the test if the status is not the expected one.
func (s *stack) want(status int, method, path, key string) string {
	s.t.Helper()
	got, body, err := ask(method, gateway+path, key)
	if err != nil || got != status {
		s.t.Errorf("%s %s: %d %v, want %d: %s", method, path, got, err, status, body)
	}
	return body
}

// during sends some fifty requests a second while happens runs, and for a while after it.
// It returns an error for the first answer that is not 200.
func during(key string, happens func()) error {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var bad error
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- bad
				return
			case <-time.After(20 * time.Millisecond):
			}
			if status, body, err := ask(http.MethodGet, gateway+"/orders/42", key); (err != nil || status != http.StatusOK) && bad == nil {
				bad = errors.Join(err, fmt.Errorf("request %d got %d %s", n, status, body))
			}
		}
	}()
	happens()
	time.Sleep(2 * time.Second) // the event may have later consequences
	close(stop)
	return <-done
}
