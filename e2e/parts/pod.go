package parts

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// podUser is user and group of the image, and the owner of a pod's volumes.
const podUser = 65532

// Pod is the service as its image and Kubernetes arrange it: the binary in a root
// folder of its own, as the image's user, with no environment but the given one.
type Pod struct {
	Root             string
	GRPC, Admin, Ops string // host:port

	tb  testing.TB
	env []string
	*process
}

// buildStatic compiles the binary of the image once in each test process.
var buildStatic = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "static", "extauthz")
	cmd := exec.Command("go", "build", "-o", path, "extauthz/cmd/extauthz")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// NewPod makes the root folder. The service listens on free ports of loopback, whatever
// its configuration sets; env is the rest of its environment.
func NewPod(tb testing.TB, env ...string) *Pod {
	tb.Helper()
	binary, err := buildStatic()
	if err != nil {
		tb.Fatal(err)
	}
	address := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(tb)) }
	p := &Pod{tb: tb, Root: tb.TempDir(), GRPC: address(), Admin: address(), Ops: address()}
	p.env = append(env, "EXTAUTHZ_GRPC__LISTEN="+p.GRPC, "EXTAUTHZ_HTTP__LISTEN="+address(), "EXTAUTHZ_ADMIN__LISTEN="+p.Admin, "EXTAUTHZ_OPS__LISTEN="+p.Ops,
		"EXTAUTHZ_SERVER=http://"+p.Admin, "EXTAUTHZ_GRPC__DRAIN_DELAY=0s")
	for _, dir := range []string{"", "usr", "usr/bin", "var", "var/lib", "var/lib/extauthz"} {
		p.must(os.MkdirAll(filepath.Join(p.Root, dir), 0o755))
	}
	p.must(os.Chmod(p.Root, 0o755)) // #nosec G302 -- another user looks into it
	p.own("var/lib/extauthz", podUser)
	p.must(os.Link(binary, filepath.Join(p.Root, "usr/bin/extauthz")))
	return p
}

// Write puts a file of a volume into the root folder, with a mode. It belongs to root and
// the pod's group, so that a secret file can be readable for that group only.
func (p *Pod) Write(path, text string, mode os.FileMode) {
	p.tb.Helper()
	full := filepath.Join(p.Root, path)
	for _, dir := range ancestors(path) {
		if err := os.Mkdir(filepath.Join(p.Root, dir), 0o755); err != nil && !os.IsExist(err) {
			p.tb.Fatal(err)
		}
	}
	p.must(os.WriteFile(full, []byte(text), 0o600))
	p.own(path, 0)
	p.must(os.Chmod(full, mode))
}

// ancestors returns the folders above a path, outermost first.
func ancestors(path string) (dirs []string) {
	for dir := filepath.Dir(path); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
	}
	return dirs
}

// own gives a file to a user and the pod's group, if this process may do so.
func (p *Pod) own(path string, user int) {
	p.tb.Helper()
	if os.Getuid() == 0 {
		p.must(os.Chown(filepath.Join(p.Root, path), user, podUser))
	}
}

func (p *Pod) must(err error) {
	p.tb.Helper()
	if err != nil {
		p.tb.Fatal(err)
	}
}

// Command returns a command in the pod that does not run yet.
func (p *Pod) Command(args ...string) *exec.Cmd {
	cmd := exec.Command("/usr/bin/extauthz", args...)
	cmd.Env, cmd.Dir = p.env, "/var/lib/extauthz"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.Root}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: podUser, Gid: podUser}
	} else { // only root can change the root folder, except in a namespace of its own
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: podUser, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: podUser, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// Run runs a command in the pod and returns its output.
func (p *Pod) Run(args ...string) (stdout, stderr string, err error) {
	cmd := p.Command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// Serve runs the service and waits until it is ready.
func (p *Pod) Serve() {
	p.tb.Helper()
	p.process = startCommand(p.tb, "pod", p.Command("serve"))
	p.await("http://" + p.Ops + "/readyz")
}

// Ends runs a service that is expected to end, and returns the end of its log.
func (p *Pod) Ends() string {
	p.tb.Helper()
	_, said, err := p.Run("serve")
	if err == nil {
		p.tb.Fatal("the service did not refuse to start")
	}
	return said
}

// Status calls a probe of the running service and returns the status.
func (p *Pod) Status(path string) int {
	p.tb.Helper()
	res, err := http.Get("http://" + p.Ops + path)
	p.must(err)
	_ = res.Body.Close()
	return res.StatusCode
}

// Awaits waits until the running service's log has a text.
func (p *Pod) Awaits(text string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := Eventually(ctx, func() error {
		said, err := os.ReadFile(p.log)
		if err == nil && !bytes.Contains(said, []byte(text)) {
			err = fmt.Errorf("the log has no %s", text)
		}
		return err
	}); err != nil {
		p.tb.Fatal(err)
	}
}
