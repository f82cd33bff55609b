package parts

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// isolatedVariable marks the test binary that runs inside. Its value is the folder with
// what was built outside, where modules are available.
const isolatedVariable = "E2E_ISOLATED"

// Isolated returns true in a test that has networks, mounts and processes of its own:
// loopback has the given addresses, every port is free, and all that it started ends with
// it. Outside, it runs the same test inside, with the same binary, passes on the result,
// and returns false. It needs root.
func Isolated(t *testing.T, addresses ...string) bool {
	t.Helper()
	if isolated() {
		enter(t, addresses...)
		return true
	}
	needRoot(t)
	for _, f := range []func() (string, error){build, buildRateLimit} {
		if _, err := f(); err != nil {
			t.Fatal(err)
		}
	}
	runInside(t)
	return false
}

// isolated reports whether this process is the one inside, the first of its namespace.
func isolated() bool { return os.Getenv(isolatedVariable) != "" && os.Getpid() == 1 }

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		Missing(t, errors.New("networks and mounts of its own are for root"))
	}
}

// enter is the first step inside.
func enter(t *testing.T, addresses ...string) {
	t.Helper()
	// Mounts that are made here are not seen outside.
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	ip(t, "link", "set", "lo", "up")
	for _, a := range addresses {
		ip(t, "address", "add", a+"/32", "dev", "lo")
	}
}

// runInside runs this test inside, and passes on its output as it arrives.
func runInside(t *testing.T, env ...string) {
	t.Helper()
	run := "^" + t.Name() + "$"
	if _, below, ok := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); ok {
		run += "/" + below
	}
	args := []string{"-test.run=" + run, "-test.v", "-test.timeout=" + flag.Lookup("test.timeout").Value.String()}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), append(env, isolatedVariable+"="+buildDir, "TMPDIR="+t.TempDir())...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL, // it is process 1 there: all others end with it
	}
	runtime.LockOSThread() // the signal is sent when the thread ends
	defer runtime.UnlockOSThread()
	var printed bytes.Buffer
	cmd.Stdout = io.MultiWriter(&printed, t.Output())
	cmd.Stderr = cmd.Stdout
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Error("the test inside failed")
	case err != nil:
		Missing(t, err)
	case strings.Contains(printed.String(), "--- SKIP: "+t.Name()+" "):
		t.SkipNow()
	}
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	program, err := exec.LookPath("ip")
	if err != nil { // Debian installs it where only root's PATH leads
		program = "/usr/sbin/ip"
	}
	if said, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s (scripts/install-parts.sh kube)", strings.Join(args, " "), err, said)
	}
}
