package usage

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/remote"
	redisstore "extauthz/cachesvc/store/redis"
	"extauthz/e2e/parts"
	"extauthz/models"
)

// The test binary also runs as the process that is killed. It is controlled by these
// variables of its environment.
const (
	childPoint = "CACHESVC_TEST_KILL_AT" // the fail point, and the number of the passing at which the process is killed: "name/3"; or "none"
	childFile  = "CACHESVC_TEST_DATABASE"
	childRedis = "CACHESVC_TEST_REDIS"
	childSpool = "CACHESVC_TEST_SPOOL"
	childAway  = "CACHESVC_TEST_AWAY" // the round from which the database is unreachable, and the one from which it is back: "2-6"

	roundUses = 7
	rounds    = 8
)

func TestMain(m *testing.M) {
	if point := os.Getenv(childPoint); point != "" {
		if err := countUses(point); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// lossy is a database that is unreachable in some rounds. Every second write in them
// takes place nevertheless, but its answer is lost.
type lossy struct {
	*models.DB
	away  bool
	calls int
}

var errLost = errors.New("the connection was lost")

func (l *lossy) AddUsage(ctx context.Context, batches []authz.UsageBatch) (uint64, error) {
	if !l.away {
		return l.DB.AddUsage(ctx, batches)
	}
	if l.calls++; l.calls%2 == 0 {
		if _, err := l.DB.AddUsage(ctx, batches); err != nil {
			return 0, err
		}
	}
	return 0, errLost
}

// countUses counts some uses in each round, and prints each round that it has counted. It
// is killed at the fail point.
func countUses(point string) error {
	ctx := context.Background()
	db, err := models.Open(ctx, models.Config{Driver: models.SQLite, DSN: os.Getenv(childFile)})
	if err != nil {
		return err
	}
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	sink := &lossy{DB: db}
	config := Config{Sink: sink, Source: rand.Text(), FlushEvery: testFlushEvery, CollectEvery: testCollectEvery, Threshold: testFlushAt,
		MaxKeys: 1000, SpoolDir: os.Getenv(childSpool), SpoolBytes: 32 << 20, Now: time.Now, Logger: slog.New(slog.DiscardHandler), FailPoint: killAt(point)}
	if address := os.Getenv(childRedis); address != "" {
		client, err := redisstore.Connect(redisstore.Connection{Addresses: []string{address}})
		if err != nil {
			return err
		}
		shared, err := redisstore.New(redisstore.Config{Client: client, Namespace: "cache:apikeys:", TagTTL: time.Hour})
		if err != nil {
			return err
		}
		config.Remote = remote.NewClient(shared, freshness.NewClock(time.Now), config.Logger, 50*time.Millisecond)
	}
	s := New(config)
	var from, to int
	_, _ = fmt.Sscanf(os.Getenv(childAway), "%d-%d", &from, &to)
	s.collecting.Store(true)
	for round := range rounds {
		sink.away = from <= round && round < to
		for range roundUses {
			s.Used("k", time.Now())
		}
		fmt.Println("round")
		s.tick(ctx, 1)
		if err := s.deliver(ctx); (err != nil) != sink.away {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	if err := s.Flush(ctx); err != nil {
		return err
	}
	return db.Close()
}

// killAt returns a fail point that kills this process at the nth passing of a step.
func killAt(point string) func(step string) {
	name, nth, _ := strings.Cut(point, "/")
	left, _ := strconv.Atoi(nth)
	return func(step string) {
		if step != name {
			return
		}
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}

// TestRecorder_AKillLosesTwoTicksAtMostAndNothingCountsTwice kills a process at each step
// of a batch on its way to the database. It does so before, in and after an outage of the
// database, in which every second write takes place without an answer. A tick is a
// second.
func TestRecorder_AKillLosesTwoTicksAtMostAndNothingCountsTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Redis")
	}
	server := parts.StartRedis(t, "--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru")
	for kind, points := range map[string][]string{
		"redis": {"before a batch is in the shared store", "after a batch is in the shared store", "before a batch's name is forgotten"},
		"file":  {"before a batch is in the file", "after a batch is in the file", "before a file is removed"},
	} {
		cleaning := points[2]
		for _, point := range append(points, "before a batch is in the database", "after a batch is in the database") {
			everKilled := false
			for _, nth := range []int{1, 2, 4} {
				t.Run(fmt.Sprintf("%s, %s, passing %d", kind, point, nth), func(t *testing.T) {
					if _, err := server.Do("FLUSHALL"); err != nil {
						t.Fatal(err)
					}
					c := child{file: filepath.Join(t.TempDir(), "test.db")}
					if kind == "redis" {
						c.redis = server.Addr()
					} else {
						c.spool = filepath.Join(t.TempDir(), "usage")
					}
					first := c.run(t, fmt.Sprintf("%s/%d", point, nth), "2-6")
					c.run(t, cleaning+"/1", "3-5") // the next process is killed while it cleans up
					if c.run(t, "none", "3-5") {
						t.Error("the last process was killed")
					}
					everKilled = everKilled || first
					c.check(t)
				})
			}
			if !everKilled && point != "before a file is removed" { // only the next process passes this point
				t.Errorf("%s, %s: nothing was killed there", kind, point)
			}
		}
	}
}

// child runs processes one after the other on the same database, Redis or folder.
type child struct {
	file, redis, spool string
	made, kills        int
}

// run reports whether the process was killed.
func (c *child) run(t *testing.T, point, away string) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childPoint+"="+point, childAway+"="+away, childFile+"="+c.file, childRedis+"="+c.redis, childSpool+"="+c.spool)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	c.made += strings.Count(string(out), "round") * roundUses
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		c.kills++
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// check compares the stored uses with those that were made.
func (c *child) check(t *testing.T) {
	t.Helper()
	db, err := models.Open(t.Context(), models.Config{Driver: models.SQLite, DSN: c.file})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	usage, err := db.Usage(t.Context(), []string{"k"})
	if err != nil || len(usage) != 1 {
		t.Fatalf("stored %+v, %v", usage, err)
	}
	if lost := c.made - int(usage[0].Count); lost < 0 || lost > 2*roundUses*c.kills {
		t.Errorf("stored %d of %d uses after %d kills, each of which may lose %d", usage[0].Count, c.made, c.kills, 2*roundUses)
	}
	if c.spool == "" {
		return
	}
	if left, err := filepath.Glob(filepath.Join(c.spool, "*")); err != nil || len(left) != 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}
