package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/e2e/parts"
)

// BenchmarkRevocation measures on three processes how long a revoked key is still
// allowed. On each replica it takes the time from the API's answer until the last allowed
// check began. `make bench-revocation` prints the distributions.
func BenchmarkRevocation(b *testing.B) {
	for _, s := range []struct {
		name, cut string
		n         int
		listen    bool // a LISTEN connection
		redis     bool
		cutting   func(redis *parts.Redis, listen *stallingProxy)
	}{
		{"all well", "nothing", 1000, true, true, nil},
		{"Redis gone", "Redis killed", 1000, true, true, func(r *parts.Redis, _ *stallingProxy) { r.Kill() }},
		{"Redis a black hole", "Redis frozen, its connections open", 1000, true, true, func(r *parts.Redis, _ *stallingProxy) { r.Freeze() }},
		{"LISTEN a black hole", "bytes of the LISTEN connection dropped, Redis killed", 300, true, true, func(r *parts.Redis, l *stallingProxy) { l.stalled.Store(true); r.Kill() }},
		{"all notifications lost", "no LISTEN, no Redis", 300, false, false, nil},
	} {
		b.Run(strings.ReplaceAll(s.name, " ", "_"), func(b *testing.B) {
			for range b.N {
				redis, postgres := parts.StartRedis(b), parts.StartPostgres(b)
				var listen *stallingProxy
				var database string
				replicas, administrator := replicasOn(b, postgres, 3, func(dsn string) string {
					database = dsn
					text := fmt.Sprintf("database: {driver: postgres, dsn: %q", dsn)
					if s.listen {
						listen = startStallingProxy(b, dsn)
						text += fmt.Sprintf(", listen_dsn: %q", listen.dsn)
					}
					text += "}\n"
					if s.redis {
						text += fmt.Sprintf("cache: {redis: {addresses: [%q]}}\n", redis.Addr())
					}
					return text
				})
				m := &revocations{b: b, replicas: replicas, administrator: administrator}
				m.connect()
				if s.cutting != nil {
					s.cutting(redis, listen)
					time.Sleep(2 * time.Second)
				}
				for range s.n {
					m.one(direct, m.revoke)
				}
				m.print(fmt.Sprintf("%s (cut: %s)", s.name, s.cut))
				if s.name == "all well" {
					m.others(database)
				}
				for _, r := range replicas {
					r.Kill()
				}
			}
		})
	}
}

type revocations struct {
	b             *testing.B
	replicas      []*parts.Service
	administrator string
	clients       []authv3.AuthorizationClient
	late          [][]time.Duration // by replica
}

func (m *revocations) connect() {
	for _, r := range m.replicas {
		c, err := grpc.NewClient("passthrough:///"+r.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			m.b.Fatal(err)
		}
		m.b.Cleanup(func() { _ = c.Close() })
		m.clients = append(m.clients, authv3.NewAuthorizationClient(c))
	}
	m.late = make([][]time.Duration, len(m.clients))
}

func (m *revocations) call(method, path string, in, out any) {
	body, err := json.Marshal(in)
	if err != nil {
		m.b.Fatal(err)
	}
	req, err := http.NewRequest(method, "http://"+m.replicas[0].Admin+path, bytes.NewReader(body))
	if err != nil {
		m.b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.administrator)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		m.b.Fatalf("%s %s: %d %v", method, path, res.StatusCode, err)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			m.b.Fatal(err)
		}
	}
}

func (m *revocations) revoke(k parts.Key) time.Time {
	m.call("DELETE", "/v1/keys/"+k.ID, nil, nil)
	return time.Now()
}

// direct are the fields of a key that has the needed scope of its own.
var direct = map[string]any{"scopes": []string{"orders:read"}}

// others measures the other ways in which a key loses access.
func (m *revocations) others(database string) {
	for i := range 200 {
		role := fmt.Sprint("reader-", i)
		m.call("POST", "/v1/roles", map[string]any{"name": role, "scopes": []string{"orders:read"}}, nil)
		m.one(map[string]any{"roles": []string{role}}, func(parts.Key) time.Time {
			m.call("PATCH", "/v1/roles/"+role, map[string]any{"scopes": []string{"orders:write"}}, nil)
			return time.Now()
		})
	}
	m.print("a role loses the scope")
	for range 50 {
		m.one(direct, func(k parts.Key) time.Time {
			var rotated struct {
				Old struct {
					ExpiresAt time.Time `json:"expires_at"`
				} `json:"old"`
			}
			m.call("POST", "/v1/keys/"+k.ID+"/rotate", map[string]any{"grace": "500ms"}, &rotated)
			return rotated.Old.ExpiresAt
		})
	}
	m.print("a rotation's grace ends (counted from that moment)")
	db, err := sql.Open("pgx", database)
	if err != nil {
		m.b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for range 200 {
		m.one(direct, func(k parts.Key) time.Time {
			if _, err := db.Exec("DELETE FROM api_keys WHERE id = $1", k.ID); err != nil {
				m.b.Fatal(err)
			}
			return time.Now()
		})
	}
	m.print("a DELETE typed in SQL")
}

// one makes a key, checks it steadily on all replicas, and ends it on the first. end
// returns the moment from which the time counts.
func (m *revocations) one(with map[string]any, end func(parts.Key) time.Time) {
	var k parts.Key
	key := map[string]any{"user_id": "u", "name": "n"}
	maps.Copy(key, with)
	m.call("POST", "/v1/keys", key, &k)
	var warm, done sync.WaitGroup
	last := make([]time.Time, len(m.clients))
	for i, client := range m.clients {
		warm.Add(1)
		done.Go(func() {
			once := sync.OnceFunc(warm.Done)
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
				start := time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				res, err := client.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
					Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "h", Path: "/orders", Headers: map[string]string{"x-api-key": k.Key}}}}})
				cancel()
				switch {
				case err == nil && reason(res) == "granted":
					last[i] = start
					once()
				case err == nil && !last[i].IsZero():
					return
				}
				time.Sleep(200 * time.Microsecond)
			}
			once()
		})
	}
	warm.Wait()
	ended := end(k)
	done.Wait()
	for i := range last {
		m.late[i] = append(m.late[i], max(last[i].Sub(ended), 0))
	}
}

func (m *revocations) print(what string) {
	fmt.Printf("%s\n", what)
	for i, late := range m.late {
		slices.Sort(late)
		at := func(p float64) time.Duration {
			return late[min(int(p*float64(len(late))), len(late)-1)].Round(10 * time.Microsecond)
		}
		name := "other replica"
		if i == 0 {
			name = "the one that revoked"
		}
		fmt.Printf("  %-21s n %4d  p50 %8v  p90 %8v  p99 %8v  max %8v\n", name, len(late), at(.5), at(.9), at(.99), at(1))
		m.late[i] = nil
	}
}

// stallingProxy forwards a Postgres connection until it is stalled: then its connections
// stay open, but deliver nothing.
type stallingProxy struct {
	dsn     string
	stalled atomic.Bool
}

func startStallingProxy(tb testing.TB, dsn string) *stallingProxy {
	tb.Helper()
	_, rest, _ := strings.Cut(dsn, "@")
	address, _, _ := strings.Cut(rest, "/")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	p := &stallingProxy{dsn: strings.Replace(dsn, address, l.Addr().String(), 1)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", address)
			if err != nil {
				_ = c.Close()
				continue
			}
			go p.carry(c, server)
			go p.carry(server, c)
		}
	}()
	return p
}

func (p *stallingProxy) carry(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err == nil && !p.stalled.Load() {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}
