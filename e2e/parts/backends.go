package parts

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// Backend is a program of the kind in which applications run. It answers with the request
// as it reads it: NAME=VALUE lines, with HTTP_ before the names of headers.
type Backend struct {
	Name string
	// Folds is another name that it reads as X-Auth-User-Id.
	Folds   string
	Address string // set by Start
	start   func(tb testing.TB, dir string, port int) *process
}

// Backends are PHP's own server, gunicorn (WSGI), Puma (Rack) and lighttpd (CGI), not
// yet started. Their programs are in dir.
func Backends(dir string) []*Backend {
	return []*Backend{
		{Name: "php", Folds: "X.Auth.User.Id", start: func(tb testing.TB, _ string, port int) *process {
			return start(tb, "php", nil, installed(tb, "php"), "-n", "-S", fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(dir, "env.php"))
		}},
		{Name: "wsgi", Folds: "X_Auth_User_Id", start: func(tb testing.TB, own string, port int) *process {
			return start(tb, "gunicorn", []string{"PYTHONDONTWRITEBYTECODE=1"}, debianPython(tb), "-m", "gunicorn", "--worker-tmp-dir", own, "--keep-alive", "1",
				"--bind", fmt.Sprintf("127.0.0.1:%d", port), "--chdir", dir, "env_wsgi")
		}},
		{Name: "rack", Folds: "X_Auth_User_Id", start: func(tb testing.TB, _ string, port int) *process {
			return start(tb, "puma", []string{"RACK_ENV=production"}, installed(tb, "puma"), "-q", "-t", "1:4", "-b", fmt.Sprintf("tcp://127.0.0.1:%d", port), filepath.Join(dir, "env.ru"))
		}},
		{Name: "cgi", Folds: "X!Auth~User|Id", start: func(tb testing.TB, own string, port int) *process {
			configuration := filepath.Join(own, "lighttpd.conf")
			if err := os.WriteFile(configuration, fmt.Appendf(nil, `
server.document-root = %[1]q
server.port = %[2]d
server.bind = "127.0.0.1"
server.modules = ("mod_alias", "mod_cgi")
server.http-parseopts = ("header-strict" => "disable", "url-ctrls-reject" => "disable")
alias.url = ("/" => %[3]q)
cgi.assign = (".cgi" => "")
`, own, port, filepath.Join(dir, "env.cgi")+"/"), 0o600); err != nil {
				tb.Fatal(err)
			}
			return start(tb, "lighttpd", nil, installed(tb, "lighttpd"), "-D", "-f", configuration)
		}},
	}
}

// debianPython returns the Python for which Debian's packages are built.
func debianPython(tb testing.TB) string {
	tb.Helper()
	if _, err := os.Stat("/usr/bin/gunicorn"); err != nil {
		Missing(tb, fmt.Errorf("no gunicorn: run scripts/install-parts.sh backends"))
	}
	return "/usr/bin/python3"
}

// Start runs the backend until the test ends.
func (b *Backend) Start(tb testing.TB) {
	tb.Helper()
	port := freePort(tb)
	p := b.start(tb, tb.TempDir(), port)
	b.Address = fmt.Sprintf("127.0.0.1:%d", port)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := Eventually(ctx, func() error {
		select {
		case <-p.done:
			return Final(fmt.Errorf("it ended: %w", p.err))
		default:
		}
		res, err := http.Get("http://" + b.Address + "/orders")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d", res.StatusCode)
			}
		}
		return err
	}); err != nil {
		tb.Fatalf("%s is not ready: %v", b.Name, err)
	}
}
