package redis_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"extauthz/cachesvc/store"
	"extauthz/cachesvc/store/redis"
	"extauthz/e2e/parts"
)

// secret is a password that changes.
type secret struct{ text atomic.Pointer[string] }

func newSecret(text string) *secret {
	s := &secret{}
	s.set(text)
	return s
}

func (s *secret) set(text string)                          { s.text.Store(&text) }
func (s *secret) Password(context.Context) (string, error) { return *s.text.Load(), nil }
func (s *secret) Rejected()                                {}

// allow sets the passwords of the user app on each server, and removes all others.
func allow(t *testing.T, servers []*parts.Redis, passwords ...string) {
	t.Helper()
	words := []string{"ACL", "SETUSER", "app", "on", "resetpass", "~*", "&*", "+@all"}
	for _, p := range passwords {
		words = append(words, ">"+p)
	}
	for _, r := range servers {
		if line, err := r.Do(words...); err != nil || line != "+OK" {
			t.Fatalf("ACL SETUSER: %s, %v", line, err)
		}
	}
}

// wave writes from this many callers at once. Each needs a connection of its own, since
// the servers answer no write until all callers have arrived.
func wave(t *testing.T, s *redis.Store, servers []*parts.Redis, callers int) {
	t.Helper()
	for _, r := range servers {
		if line, err := r.Do("CLIENT", "PAUSE", "60000", "WRITE"); err != nil || line != "+OK" {
			t.Fatalf("CLIENT PAUSE: %s, %v", line, err)
		}
	}
	var group sync.WaitGroup
	var failed atomic.Int64
	for i := range callers {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := s.Set(ctx, store.Item{Key: fmt.Sprintf("k%d", i), Value: []byte("1"), TTL: time.Hour}); err != nil {
				failed.Add(1)
				t.Errorf("call failed: %v", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := parts.Eventually(ctx, func() error {
		waiting := failed.Load()
		for _, r := range servers {
			waiting += blocked(t, r)
		}
		if waiting < int64(callers) {
			return fmt.Errorf("%d of %d callers have arrived", waiting, callers)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	for _, r := range servers {
		if line, err := r.Do("CLIENT", "UNPAUSE"); err != nil || line != "+OK" {
			t.Fatalf("CLIENT UNPAUSE: %s, %v", line, err)
		}
	}
	group.Wait()
}

// blocked returns how many clients wait for an answer of the server.
func blocked(t *testing.T, r *parts.Redis) (clients int64) {
	t.Helper()
	info, err := r.Info("clients")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "blocked_clients:")
	clients, err = strconv.ParseInt(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 10, 64)
	if err != nil {
		t.Fatalf("INFO clients: %v", err)
	}
	return clients
}

func TestStore_PasswordOfAUserChanges(t *testing.T) {
	needsRedis(t)
	for name, start := range map[string]func(t *testing.T) (redis.Connection, []*parts.Redis){
		"single": func(t *testing.T) (redis.Connection, []*parts.Redis) {
			r := parts.StartRedis(t)
			return redis.Connection{Addresses: []string{r.Addr()}}, []*parts.Redis{r}
		},
		"sentinel": func(t *testing.T) (redis.Connection, []*parts.Redis) {
			s := parts.StartRedisSentinel(t)
			return redis.Connection{Addresses: s.Addresses, Mode: redis.ModeSentinel, SentinelMaster: s.Name}, []*parts.Redis{s.Master, s.Replica}
		},
		"cluster": func(t *testing.T) (c redis.Connection, nodes []*parts.Redis) {
			nodes = parts.StartRedisCluster(t)
			return redis.Connection{Addresses: []string{nodes[0].Addr()}, Mode: redis.ModeCluster}, nodes
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, servers := start(t)
			password := newSecret("first")
			c.Username, c.Password = "app", password
			allow(t, servers, "first")
			s := open(t, connect(t, c), "c:")
			wave(t, s, servers, 4)
			allow(t, servers, "first", "second") // Redis accepts both passwords
			wave(t, s, servers, 8)
			password.set("second")
			wave(t, s, servers, 12)
			allow(t, servers, "second")
			wave(t, s, servers, 16)
			password.set("third") // the client's source has it before the server does
			wave(t, s, servers, 20)
			allow(t, servers, "third")
			wave(t, s, servers, 24)
			allow(t, servers, "fourth") // the client's source does not have it yet: open connections go on
			wave(t, s, servers, 1)
			password.set("fourth")
			wave(t, s, servers, 28)
			stranger := c
			stranger.Password = newSecret("wrong")
			err := open(t, connect(t, stranger), "c:").Ping(t.Context())
			if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "fourth") {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
}

func TestStore_SubscriptionLogsInAnew(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	r := parts.StartRedis(t)
	password := newSecret("first")
	allow(t, []*parts.Redis{r}, "first")
	s := open(t, connect(t, redis.Connection{Addresses: []string{r.Addr()}, Username: "app", Password: password}), "b:")
	ctx, stop := context.WithCancel(t.Context())
	connected, ended := make(chan struct{}, 9), make(chan error, 1)
	go func() {
		ended <- s.Subscribe(ctx, "changes", func() { connected <- struct{}{} }, func([]byte) {})
	}()
	for i := range 2 {
		select {
		case <-connected:
		case <-time.After(10 * time.Second):
			t.Fatal("not connected")
		}
		if i == 0 {
			allow(t, []*parts.Redis{r}, "second")
			password.set("second")
			if line, err := r.Do("CLIENT", "KILL", "TYPE", "pubsub"); err != nil || !strings.HasPrefix(line, ":") {
				t.Fatalf("CLIENT KILL: %s, %v", line, err)
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestStore_ClientCertificateIsExchanged(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	authority := parts.NewAuthority(t)
	r := parts.StartRedisMutualTLS(t, authority)
	dir := t.TempDir()
	files := authority.Issue(dir)
	var shown atomic.Int64
	client := connect(t, redis.Connection{Addresses: []string{r.Addr()}, TLS: func() (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			return nil, err
		}
		shown.Store(pair.Leaf.SerialNumber.Int64())
		return &tls.Config{RootCAs: authority.Pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
	}})
	// A held connection is not available to the next caller, who needs a new one.
	hold := func() {
		c := client.(*goredis.Client).Conn()
		t.Cleanup(func() { _ = c.Close() })
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	hold()
	before := shown.Load()
	authority.Issue(dir)
	hold()
	if shown.Load() == before {
		t.Error("a new connection shows the old certificate")
	}
}

func TestStore_SentinelsPasswordChanges(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	servers := parts.StartSecuredSentinel(t, "sentinels", "servers")
	password := newSecret("wrong")
	c := redis.Connection{Addresses: servers.Addresses, Mode: redis.ModeSentinel, SentinelMaster: servers.Name, SentinelPassword: password, Password: newSecret("servers")}
	s := open(t, connect(t, c), "p:")
	if err := s.Ping(t.Context()); err == nil {
		t.Fatal("Sentinels take any password")
	}
	password.set("sentinels")
	eventually(t, func(ctx context.Context) error { return s.Ping(ctx) })
	// Sentinels that only the configured one knows have the same password.
	c.Addresses = c.Addresses[:1]
	one := open(t, connect(t, c), "p:")
	eventually(t, func(ctx context.Context) error { return one.Ping(ctx) })
	servers.Freeze(t, 0)
	servers.Master.Kill()
	eventually(t, func(ctx context.Context) error {
		return one.Set(ctx, store.Item{Key: "after", Value: []byte("1"), TTL: time.Hour})
	})
}

func eventually(t *testing.T, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := parts.Eventually(ctx, func() error {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return call(limited)
	}); err != nil {
		t.Fatal(err)
	}
}

func TestStore_HangingServersAreNoObstacle(t *testing.T) {
	needsRedis(t)
	t.Run("a Sentinel that never answers", func(t *testing.T) {
		t.Parallel()
		servers := parts.StartRedisSentinel(t)
		s := open(t, connect(t, redis.Connection{Addresses: append([]string{parts.Mute(t)}, servers.Addresses...), Mode: redis.ModeSentinel, SentinelMaster: servers.Name}), "h:")
		begin := time.Now()
		eventually(t, func(ctx context.Context) error { return s.Ping(ctx) })
		t.Logf("connected after %s", time.Since(begin))
	})
	t.Run("a Sentinel that begins to hang", func(t *testing.T) {
		t.Parallel()
		servers := parts.StartRedisSentinel(t)
		s := open(t, connect(t, redis.Connection{Addresses: servers.Addresses[:1], Mode: redis.ModeSentinel, SentinelMaster: servers.Name}), "h:")
		eventually(t, func(ctx context.Context) error { return s.Ping(ctx) })
		servers.Freeze(t, 0)
		begin := time.Now()
		servers.Master.Freeze()
		eventually(t, func(ctx context.Context) error {
			return s.Set(ctx, store.Item{Key: "after", Value: []byte("1"), TTL: time.Hour})
		})
		t.Logf("the promoted master was written to after %s", time.Since(begin))
	})
	t.Run("a node of a Cluster", func(t *testing.T) {
		t.Parallel()
		nodes := parts.StartRedisCluster(t)
		c := redis.Connection{Addresses: []string{parts.Mute(t), nodes[1].Addr(), nodes[2].Addr()}, Mode: redis.ModeCluster}
		client := connect(t, c)
		s := open(t, client, "h:")
		eventually(t, func(ctx context.Context) error { return s.Ping(ctx) })
		owned := keysOf(t, client.(*goredis.ClusterClient), nodes[1].Addr())
		nodes[0].Freeze()
		for _, key := range owned {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if _, _, err := s.Get(ctx, key); err != nil && !strings.Contains(err.Error(), "CLUSTERDOWN") {
				t.Errorf("a node that lives: %v", err)
			}
			cancel()
		}
	})
}

// keysOf returns keys that one node of the Cluster holds under the name space h:.
func keysOf(t *testing.T, client *goredis.ClusterClient, node string) (keys []string) {
	t.Helper()
	for i := 0; len(keys) < 20; i++ {
		key := fmt.Sprintf("k%d", i)
		owner, err := client.MasterForKey(t.Context(), "h:"+key)
		if err != nil {
			t.Fatal(err)
		}
		if owner.Options().Addr == node {
			keys = append(keys, key)
		}
	}
	return keys
}
