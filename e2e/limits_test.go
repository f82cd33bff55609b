package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestRate_IsEnforcedByTheService: with rate-limit headers, and only for that key.
func TestRate_IsEnforcedByTheService(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, ``)
		k := s.NewKey("--scope", "orders:read", "--rate", "5/h")
		other := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
		for range 5 {
			s.denied(s.ask("POST", "/orders", "x-api-key: "+k.Key), 403, "scope_missing") // does not count against the rate
			s.allowed(s.ask("GET", "/orders", "x-api-key: "+k.Key))
		}
		a := s.ask("GET", "/orders", "x-api-key: "+k.Key)
		s.denied(a, 429, "throttled")
		if a.header.Get("retry-after") == "" || a.header.Get("ratelimit-policy") != `"key";q=5;w=3600` || !strings.HasPrefix(a.header.Get("ratelimit"), `"key";r=0;t=`) {
			t.Errorf("got %v", a.header)
		}
		if a := s.ask("POST", "/orders.Orders/List", "x-api-key: "+s.NewKey("--scope", "orders.Orders:read", "--rate", "1/h").Key, "content-type: application/grpc", "content-length: 0"); !a.reached {
			t.Errorf("got %v", a.header)
		}
		s.allowed(s.ask("GET", "/orders", other))
		s.Must("keys", "update", k.ID, "--rate", "100/s")
		eventually(t, func() error {
			if a := s.ask("GET", "/orders", "x-api-key: "+k.Key); a.status != 200 {
				return fmt.Errorf("a raised rate: %d", a.status)
			}
			return nil
		})
	})
}

// TestRate_IsSharedByReplicas: each allows its share of the rate, and all of it once it
// is alone again.
func TestRate_IsSharedByReplicas(t *testing.T) {
	a, b := twoReplicas(t, func(dsn string) string { return fmt.Sprintf("database: {driver: postgres, dsn: %q}", dsn) })
	checkA, checkB := reasonOf(checker(t, a)), reasonOf(checker(t, b))
	passes := func(check func(path, key string) string, key string) (n int) {
		for range 12 {
			if check("/orders", key) == "granted" {
				n++
			}
		}
		return n
	}
	eventually(t, func() error { // each replica has counted both
		key := a.NewKey("--scope", "orders:read", "--rate", "10/d").Key
		if first, second := passes(checkA, key), passes(checkB, key); first != 5 || second != 5 {
			return fmt.Errorf("%d and %d of 10 passed", first, second)
		}
		return nil
	})
	b.Stop()
	eventually(t, func() error {
		if n := passes(checkA, a.NewKey("--scope", "orders:read", "--rate", "10/d").Key); n != 10 {
			return fmt.Errorf("%d of 10 pass on the last replica", n)
		}
		return nil
	})
	a.Stop()
}

// TestRate_IsEnforcedByEnvoysRateLimitService runs the example's configuration, unchanged
// except for ports, with the real rate-limit service.
func TestRate_IsEnforcedByEnvoysRateLimitService(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Envoy and Redis")
	}
	example, err := os.ReadFile("../envoy/examples/ratelimit.yaml")
	if err != nil {
		t.Fatal(err)
	}
	limiter := parts.StartRateLimit(t, parts.StartRedis(t), "domain: extauthz\ndescriptors: [{key: key_id}]\n")
	for _, version := range parts.Versions() {
		t.Run("envoy-"+version, func(t *testing.T) {
			s := &stack{Service: parts.StartService(t, `limits: {mode: envoy}`), t: t, upstream: parts.StartUpstream(t)}
			listen, admin := freePort(t), freePort(t)
			s.gateway = fmt.Sprintf("127.0.0.1:%d", listen)
			port := func(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
			text := string(example)
			for was, is := range map[string]string{"8080": fmt.Sprint(listen), "8081": port(s.upstream.Address), "8082": fmt.Sprint(limiter), "9001": port(s.GRPC), "9901": fmt.Sprint(admin)} {
				if strings.Count(text, "port_value: "+was+"}") != 1 {
					t.Fatalf("the example has no port %s, or several", was)
				}
				text = strings.ReplaceAll(text, "port_value: "+was+"}", "port_value: _"+is+"}")
			}
			parts.StartEnvoy(t, version, strings.ReplaceAll(text, "port_value: _", "port_value: "), admin)
			few, more := s.NewKey("--scope", "orders:read", "--rate", "3/h"), s.NewKey("--scope", "orders:read", "--rate", "6/h")
			free := s.NewKey("--scope", "orders:read")
			if time.Now().Minute() == 59 && time.Now().Second() > 50 { // its windows begin at the full hour
				time.Sleep(11 * time.Second)
			}
			for key, want := range map[string]int{few.Key: 3, more.Key: 6, free.Key: 10} {
				passed, last := 0, answer{}
				for range 10 {
					if last = s.ask("GET", "/orders", "x-api-key: "+key); last.status == 200 {
						passed++
					} else if last.status != 429 || last.reached {
						t.Errorf("got %d %s", last.status, last.body)
					}
				}
				if passed != want {
					t.Errorf("%d of 10 passed, want %d (%v)", passed, want, last.header)
				}
			}
		})
	}
}
