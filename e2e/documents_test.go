package e2e

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

// TestDocuments_APIExamplesRun: the unchanged commands of docs/api.md call every
// operation of the API, and each gets the expected answer.
func TestDocuments_APIExamplesRun(t *testing.T) {
	s := service(t, ``)
	target := &url.URL{Scheme: "http", Host: s.Admin}
	var mu sync.Mutex
	var called []string
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(res *http.Response) error {
		mu.Lock()
		defer mu.Unlock()
		if res.StatusCode < 300 {
			called = append(called, res.Request.Method+" "+res.Request.URL.Path)
		}
		return nil
	}
	front := httptest.NewServer(proxy)
	defer front.Close()

	cmd := exec.Command("bash", "-euo", "pipefail", "-c", strings.Join(parts.Fenced(t, "../docs/api.md", "sh"), "\n"))
	cmd.Env = append(os.Environ(), "API="+front.URL, "TOKEN="+strings.TrimSpace(readFile(t, filepath.Join(s.DataDir, "admin.key"))))
	said, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "\n401\n") || !strings.Contains(string(said), "not found") || !strings.Contains(string(said), "refused\n") {
		t.Errorf("%v: %s", err, said)
	}

	var description struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(get(t, "http://"+s.Admin+"/openapi.json")), &description); err != nil || len(description.Paths) < 10 {
		t.Fatal(err)
	}
	for path, methods := range description.Paths {
		for method := range methods {
			operation := regexp.MustCompile("(?i)^" + method + " " + regexp.MustCompile(`\{[a-z_]+\}`).ReplaceAllString(path, "[^/]+") + "$")
			if !anyMatch(called, operation) {
				t.Errorf("docs/api.md does not show %s %s", method, path)
			}
		}
	}
}

// TestDocuments_AdministratorsExamplesRun: its commands, as they stand, on a new service.
func TestDocuments_AdministratorsExamplesRun(t *testing.T) {
	s := service(t, ``)
	binary := filepath.Dir(parts.Binary(t))
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", strings.Join(parts.Fenced(t, "../docs/administrators.md", "sh"), "\n"))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+binary+":"+os.Getenv("PATH"), "EXTAUTHZ_SERVER=http://"+s.Admin, "EXTAUTHZ_TOKEN_FILE="+filepath.Join(s.DataDir, "admin.key"))
	said, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "carol@example.com") || !strings.Contains(string(said), "first-administrator") || strings.Contains(string(said), "shown this once") {
		t.Errorf("%v: %s", err, said)
	}
}

func anyMatch(texts []string, pattern *regexp.Regexp) bool {
	for _, text := range texts {
		if pattern.MatchString(text) {
			return true
		}
	}
	return false
}

func TestDocuments_EveryAlertHasARunbook(t *testing.T) {
	rules, err := os.ReadFile("../helm/extauthz/files/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ways, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1)
	if len(alerts) == 0 {
		t.Fatal("no alert was found")
	}
	for _, a := range alerts {
		name := string(a[1])
		if !strings.Contains(string(ways), "\n### "+name+"\n") || !strings.Contains(string(rules), "docs/troubleshooting.md#"+strings.ToLower(name)+"\n") {
			t.Errorf("%s does not lead to a heading of docs/troubleshooting.md", name)
		}
	}
}

func TestDocuments_EveryReasonHasARemedy(t *testing.T) {
	ways := readFile(t, "../docs/troubleshooting.md")
	for _, r := range authz.Reasons() {
		if r != authz.ReasonGranted && r != authz.ReasonAnonymous && !strings.Contains(ways, "\n| `"+r.String()+"` |") {
			t.Errorf("docs/troubleshooting.md does not have what to do about %s", r)
		}
	}
}

// TestDocuments_ExplainedMessagesExist: messages of a start and of the log.
func TestDocuments_ExplainedMessagesExist(t *testing.T) {
	var source strings.Builder
	for _, folder := range []string{"../authz", "../cachesvc", "../cmd", "../envoy", "../models"} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				source.WriteString(readFile(t, path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, tables, _ := strings.Cut(readFile(t, "../docs/troubleshooting.md"), "## It does not start")
	tables, _, _ = strings.Cut(tables, "\n## `/readyz` says")
	messages := 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllStringSubmatch(tables, -1) {
		for _, message := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			messages++
			if !strings.Contains(source.String(), message[1]) {
				t.Errorf("docs/troubleshooting.md explains %q, which nothing says", message[1])
			}
		}
	}
	if messages < 30 {
		t.Errorf("only %d messages were found", messages)
	}
}
