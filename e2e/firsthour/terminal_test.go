package firsthour

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"extauthz/e2e/parts"
)

// inside is set in the process that becomes the shell in a terminal.
const inside = "FIRSTHOUR_INSIDE"

// patience is how long one block may take: one of them compiles, which is slow on some
// machines.
const patience = 15 * time.Minute

// becomeShell brings up loopback in the new network and becomes an interactive bash.
func becomeShell() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback can't be brought up: %w", err)
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback can't be brought up: %w", err)
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		return err
	}
	if err := os.Unsetenv(inside); err != nil {
		return err
	}
	// Without line editing, pasted text waits in the terminal. A command that reads from
	// the terminal then gets this text, as in a terminal without bracketed paste.
	return syscall.Exec(bash, []string{"bash", "--noprofile", "--norc", "--noediting", "-i"}, os.Environ())
}

// terminal is an interactive shell.
type terminal struct {
	t      *testing.T
	master *os.File
	mu     sync.Mutex
	output bytes.Buffer
	ended  chan struct{} // closed when the shell has ended
}

// failure is a command that ended with another status than 0.
type failure struct {
	command string
	status  int
}

// openTerminal starts a shell in folder; env is its whole environment.
func openTerminal(t *testing.T, folder string, env []string) *terminal {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Dir = folder
	cmd.Env = append(env, inside+"=1", "PS1=", "PS2=", "TERM=dumb", "HISTFILE=/dev/null")
	attr := &syscall.SysProcAttr{Setsid: true, Setctty: true, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	if id := os.Getuid(); id != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	master, err := pty.StartWithAttrs(cmd, &pty.Winsize{Rows: 40, Cols: 120}, attr)
	if err != nil {
		parts.Missing(t, fmt.Errorf("this machine does not allow a network of its own: %w", err))
	}
	s := &terminal{t: t, master: master, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		piece := make([]byte, 4096)
		for {
			n, err := master.Read(piece)
			s.mu.Lock()
			s.output.Write(piece[:n])
			s.mu.Unlock()
			if err != nil { // EIO once the shell has ended
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the first process in its namespace: all others end with it
		_ = cmd.Wait()
		_ = master.Close()
		<-s.ended
	})
	// Each command that fails is reported between two bytes that nothing else prints.
	s.paste("set -E; trap 'printf \"\\036%d %s\\036\" \"$?\" \"${BASH_COMMAND%%$'\\''\\n'\\''*}\"' ERR\n")
	return s
}

var (
	done   = regexp.MustCompile("\035(\\d+)\035")
	failed = regexp.MustCompile("\036(\\d+) ([^\036]*)\036")
)

// paste types text, and waits until the shell has executed all of it. It returns what was
// shown meanwhile, and the commands that failed.
func (s *terminal) paste(text string) (shown string, failures []failure) {
	s.t.Helper()
	s.mu.Lock()
	s.output.Reset()
	s.mu.Unlock()
	if _, err := s.master.WriteString(text + "\nprintf '\\035%d\\035' 0\n"); err != nil {
		s.t.Fatal(err)
	}
	limit := time.After(patience)
	for !done.MatchString(s.shown()) {
		select {
		case <-limit:
			s.t.Fatalf("after %v the shell was not done with\n%s\nit showed\n%s", patience, text, s.shown())
		case <-s.ended:
			s.t.Fatalf("the shell ended during\n%s\nit showed\n%s", text, s.shown())
		case <-time.After(50 * time.Millisecond):
		}
	}
	shown = s.shown()
	for _, f := range failed.FindAllStringSubmatch(shown, -1) {
		status, err := strconv.Atoi(f[1])
		if err != nil {
			s.t.Fatal(err)
		}
		failures = append(failures, failure{f[2], status})
	}
	return shown, failures
}

func (s *terminal) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.output.String(), "\r\n", "\n")
}

// TestTerminal_ReportsWhatAPersonWouldSee: otherwise the tests of documents would test
// nothing.
func TestTerminal_ReportsWhatAPersonWouldSee(t *testing.T) {
	s := openTerminal(t, t.TempDir(), []string{"PATH=/usr/bin:/bin"})
	if shown, failures := s.paste("echo $((6*7))\nfalse\ntrue\nsh -c 'exit 3'"); !strings.Contains(shown, "\n42\n") || len(failures) != 2 || failures[0] != (failure{"false", 1}) || failures[1].status != 3 {
		t.Errorf("%+v in %q", failures, shown)
	}
	// A question reads the line that was meant as the next command.
	if shown, _ := s.paste("read -r answer\necho next\necho \"answer=$answer\""); !strings.Contains(shown, "\nanswer=echo next\n") {
		t.Errorf("%q", shown)
	}
	if shown, failures := s.paste("sleep 100 &\nkill %?sleep && wait %?sleep"); len(failures) != 1 || failures[0].status != 143 {
		t.Errorf("%+v in %q", failures, shown)
	}
	if _, failures := s.paste("(exec 3<>/dev/tcp/127.0.0.1/9001) 2>/dev/null"); len(failures) == 0 {
		t.Error("something listens in a new network")
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		fmt.Fprintln(os.Stderr, errors.Join(errors.New("no shell"), becomeShell()))
		os.Exit(1)
	}
	os.Exit(m.Run())
}
