package redis_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"extauthz/cachesvc/store"
	"extauthz/cachesvc/store/redis"
	"extauthz/cachesvc/store/storetest"
	"extauthz/e2e/parts"
)

func connect(t *testing.T, c redis.Connection) goredis.UniversalClient {
	t.Helper()
	client, err := redis.Connect(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func open(t *testing.T, client goredis.UniversalClient, namespace string) *redis.Store {
	t.Helper()
	s, err := redis.New(redis.Config{Client: client, Namespace: namespace, TagTTL: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func needsRedis(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Redis")
	}
}

var namespaces atomic.Int64

func factory(client goredis.UniversalClient) storetest.Factory {
	return func(t *testing.T) (store.Store, func(time.Duration)) {
		return open(t, client, fmt.Sprintf("t%d:", namespaces.Add(1))), time.Sleep
	}
}

func TestConformance_OneServer(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	r := parts.StartRedis(t)
	storetest.Run(t, factory(connect(t, redis.Connection{Addresses: []string{r.Addr()}})))
	stats, err := r.Info("commandstats")
	if err != nil || !strings.Contains(stats, "cmdstat_unlink") {
		t.Fatalf("no statistics of commands: %v", err)
	}
	for _, never := range []string{"cmdstat_keys", "cmdstat_eval", "cmdstat_multi", "cmdstat_mget", "cmdstat_mset", "cmdstat_flush"} {
		if strings.Contains(stats, never) {
			t.Errorf("%s was used", never)
		}
	}
}

func TestConformance_Cluster(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	var addresses []string
	for _, n := range parts.StartRedisCluster(t) {
		addresses = append(addresses, n.Addr())
	}
	storetest.Run(t, factory(connect(t, redis.Connection{Addresses: addresses, Mode: redis.ModeCluster})))
}

func secure(roots *x509.CertPool) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil }
}

func TestConformance_TLS(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	r := parts.StartRedisTLS(t)
	storetest.Run(t, factory(connect(t, redis.Connection{Addresses: []string{r.Addr()}, TLS: secure(r.Pool)})))
	stranger := open(t, connect(t, redis.Connection{Addresses: []string{r.Addr()}, TLS: secure(nil)}), "s:")
	if err := stranger.Ping(t.Context()); err == nil {
		t.Error("a server with an unknown certificate was trusted")
	}
}

func TestConformance_SentinelAndItsPromotion(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	s := parts.StartRedisSentinel(t)
	client := connect(t, redis.Connection{Addresses: s.Addresses, Mode: redis.ModeSentinel, SentinelMaster: s.Name})
	storetest.Run(t, factory(client))
	r := open(t, client, "p:")
	if err := r.Set(t.Context(), store.Item{Key: "before", Value: []byte("1"), TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	s.Master.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := parts.Eventually(ctx, func() error {
		call, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return r.Set(call, store.Item{Key: "after", Value: []byte("2"), TTL: time.Hour})
	}); err != nil {
		t.Fatalf("after the promotion: %v", err)
	}
	if value, found, err := r.Get(t.Context(), "after"); err != nil || !found || string(value) != "2" {
		t.Errorf("Get: %q, %v, %v", value, found, err)
	}
}

func TestStore_Layout(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	client := connect(t, redis.Connection{Addresses: []string{parts.StartRedis(t).Addr()}})
	s := open(t, client, "cache:apikeys:")
	ctx := t.Context()
	if err := s.Set(ctx, store.Item{Key: "apikey:validation:k", Value: []byte("{}"), TTL: 300 * time.Second, Tags: []string{"apikey-validation"}}); err != nil {
		t.Fatal(err)
	}
	ttl := client.PTTL(ctx, "cache:apikeys:apikey:validation:k").Val()
	if ttl <= 0 || ttl > 300*time.Second {
		t.Errorf("value lives %s", ttl)
	}
	members := client.SMembers(ctx, "cache:apikeys:tag:apikey-validation").Val()
	if ttl := client.PTTL(ctx, "cache:apikeys:tag:apikey-validation").Val(); len(members) != 1 || members[0] != "apikey:validation:k" || ttl <= 0 {
		t.Errorf("tag holds %q for %s", members, ttl)
	}
	if err := s.Set(ctx, store.Item{Key: "u", Value: []byte("{}"), TTL: store.Forever, Tags: []string{"kept"}}); err != nil {
		t.Fatal(err)
	}
	if a, b := client.PTTL(ctx, "cache:apikeys:u").Val(), client.PTTL(ctx, "cache:apikeys:tag:kept").Val(); a != -1 || b != -1 {
		t.Errorf("what is kept for ever has lifetimes %s and %s", a, b)
	}
}

func TestStore_ReportsHowFullRedisIs(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	r := parts.StartRedis(t, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
	s := open(t, connect(t, redis.Connection{Addresses: []string{r.Addr()}}), "m:")
	m, err := s.Memory(t.Context())
	if err != nil || m.Max != 3<<20 || m.Policy != "noeviction" || m.Used <= 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	for i := 0; err == nil && i < 1000; i++ {
		err = s.Set(t.Context(), store.Item{Key: fmt.Sprint(i), Value: make([]byte, 10_000), TTL: time.Hour})
	}
	var answer interface {
		error
		RedisError()
	}
	if !errors.As(err, &answer) || !strings.HasPrefix(answer.Error(), "OOM ") {
		t.Errorf("a full store answers %v", err)
	}
	if _, found, err := s.Get(t.Context(), "1"); err != nil || !found {
		t.Errorf("a full store does not read: %v", err)
	}
}

// within makes a call with a budget, and fails the test if the call succeeds or takes far
// longer.
func within(t *testing.T, what string, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := call(ctx)
	if took := time.Since(start); err == nil || took > time.Second {
		t.Errorf("%s: %v after %s, with a budget of 50 ms", what, err, took)
	}
}

func TestStore_ACallEndsWithItsBudget(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	r := parts.StartRedis(t)
	s := open(t, connect(t, redis.Connection{Addresses: []string{r.Addr()}}), "f:")
	get := func(ctx context.Context) error { _, _, err := s.Get(ctx, "a"); return err }
	if err := get(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Freeze()
	within(t, "frozen", get)
	within(t, "frozen, mset", func(ctx context.Context) error {
		return s.MSet(ctx, store.Item{Key: "a", Value: []byte("1"), TTL: time.Hour}, store.Item{Key: "b", Value: []byte("1"), TTL: time.Hour})
	})
	r.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := parts.Eventually(ctx, func() error { return get(ctx) }); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
	r.Kill()
	within(t, "killed", get)
	// A server that accepts connections and never answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	mute := open(t, connect(t, redis.Connection{Addresses: []string{silent.Addr().String()}}), "f:")
	within(t, "silent", func(ctx context.Context) error { _, _, err := mute.Get(ctx, "a"); return err })
	r.Restart()
	if err := parts.Eventually(ctx, func() error { return get(ctx) }); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestSubscribe_ReceivesAndReconnects(t *testing.T) {
	needsRedis(t)
	t.Parallel()
	r := parts.StartRedis(t)
	s := open(t, connect(t, redis.Connection{Addresses: []string{r.Addr()}}), "b:")
	ctx, stop := context.WithCancel(t.Context())
	connected, received, ended := make(chan struct{}, 9), make(chan string, 9), make(chan error, 1)
	go func() {
		ended <- s.Subscribe(ctx, "changes", func() { connected <- struct{}{} }, func(p []byte) { received <- string(p) })
	}()
	for i := range 2 {
		select {
		case <-connected:
		case <-time.After(10 * time.Second):
			t.Fatal("not connected")
		}
		if err := s.Publish(ctx, "changes", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-received:
			if got != fmt.Sprint(i) {
				t.Errorf("received %q", got)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("nothing was received")
		}
		if i == 0 {
			r.Kill()
			r.Restart()
		}
	}
	r.Freeze() // for longer than the client waits for an answer
	time.Sleep(6 * time.Second)
	r.Thaw()
	select {
	case <-connected:
	case <-time.After(10 * time.Second):
		t.Error("a dead connection is not made anew")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Subscribe: %v", err)
	}
}
