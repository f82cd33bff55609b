package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"extauthz/e2e/parts"
)

const creators = 16 // clients that make keys at once

// TestCreate_AcknowledgedKeysSurviveAKill kills the service, together with the database's
// server, while 16 clients make keys.
func TestCreate_AcknowledgedKeysSurviveAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the service")
	}
	t.Run("sqlite", func(t *testing.T) {
		s := parts.StartService(t, "")
		keys := createUntil(t, s, localAdministrator(t, s), 300, s.Kill)
		s.Restart()
		want(t, checkAll(t, s, keys, 8), "granted", len(keys))
	})
	t.Run("postgres", func(t *testing.T) {
		postgres := parts.StartDurablePostgres(t)
		replicas, administrator := replicasOn(t, postgres, 1, onPostgres)
		s := replicas[0]
		keys := createUntil(t, s, administrator, 300, func() {
			if err := postgres.Kill(); err != nil {
				t.Error(err)
			}
			s.Kill()
		})
		if err := postgres.Start(); err != nil {
			t.Fatal(err)
		}
		s.Restart()
		want(t, checkAll(t, s, keys, 8), "granted", len(keys))
	})
}

func onPostgres(dsn string) string {
	return fmt.Sprintf("database: {driver: postgres, dsn: %q}\n", dsn)
}

func localAdministrator(tb testing.TB, s *parts.Service) string {
	tb.Helper()
	key, err := os.ReadFile(filepath.Join(s.DataDir, "admin.key"))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(key))
}

// createUntil makes keys until end returns, and returns those that were acknowledged. It
// calls end once enough keys have been made.
func createUntil(tb testing.TB, s *parts.Service, administrator string, enough int, end func()) (keys []string) {
	tb.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	reached := make(chan struct{})
	for range creators {
		c := newCreator(tb, s, administrator)
		all.Go(func() {
			for {
				answer, err := c.create()
				var k parts.Key
				if err != nil || json.Unmarshal(answer, &k) != nil {
					return // it was killed
				}
				mu.Lock()
				if keys = append(keys, k.Key); len(keys) == enough {
					close(reached)
				}
				mu.Unlock()
			}
		})
	}
	<-reached
	end()
	all.Wait()
	return keys
}

// creator is a client with a connection of its own. It does as little work as possible,
// since its cost reduces the measured rate.
type creator struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
}

func newCreator(tb testing.TB, s *parts.Service, administrator string) *creator {
	tb.Helper()
	conn, err := net.Dial("tcp", s.Admin)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	req, err := http.NewRequest(http.MethodPost, "http://"+s.Admin+"/v1/keys", strings.NewReader(`{"user_id": "u", "name": "n", "scopes": ["orders:read"]}`))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+administrator)
	req.Header.Set("Content-Type", "application/json")
	var text bytes.Buffer
	if err := req.Write(&text); err != nil {
		tb.Fatal(err)
	}
	return &creator{conn: conn, answers: bufio.NewReader(conn), request: text.Bytes()}
}

// create makes a key and returns the answer that acknowledges it.
func (c *creator) create() ([]byte, error) {
	if _, err := c.conn.Write(c.request); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("status %d: %s", res.StatusCode, answer)
	}
	return answer, err
}
