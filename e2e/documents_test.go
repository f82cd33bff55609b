package e2e

import (
	"encoding/json"
	"fmt"
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
)

// fenced are the blocks of a document that are in a language.
func fenced(t *testing.T, path, language string) (blocks []string) {
	t.Helper()
	for _, found := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(readFile(t, path), -1) {
		blocks = append(blocks, found[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no block of %s", path, language)
	}
	return blocks
}

// TestTheAPIsDocumentRuns: its commands, as they stand, call every operation
// that there is, and each is answered as it should be.
func TestTheAPIsDocumentRuns(t *testing.T) {
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

	cmd := exec.Command("bash", "-euo", "pipefail", "-c", strings.Join(fenced(t, "../docs/api.md", "sh"), "\n"))
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
				t.Error(fmt.Sprintf("docs/api.md does not show %s %s", method, path))
			}
		}
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
