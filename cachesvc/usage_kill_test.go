package cachesvc

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	redisstore "extauthz/cachesvc/store/redis"
	"extauthz/e2e/parts"
	"extauthz/models"
)

// The test binary is also the process that is killed.
const (
	childPoint = "CACHESVC_TEST_KILL_AT" // the fail point, at its second passing; "none"
	childFile  = "CACHESVC_TEST_DATABASE"
	childRedis = "CACHESVC_TEST_REDIS"

	roundUses = 7
	rounds    = 4
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

// countUses counts some uses in rounds and flushes each, and is killed at the
// fail point. It says what it has counted.
func countUses(point string) error {
	passed := 0
	failPoint = func(name string) {
		if name != point {
			return
		}
		if passed++; passed == 2 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	ctx := context.Background()
	db, err := models.Open(ctx, models.Config{Driver: models.SQLite, DSN: os.Getenv(childFile)})
	if err != nil {
		return err
	}
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	config := Config{Database: db}
	if address := os.Getenv(childRedis); address != "" {
		client, err := redisstore.Connect(redisstore.Connection{Addresses: []string{address}})
		if err != nil {
			return err
		}
		if config.Shared, err = redisstore.New(redisstore.Config{Client: client, Namespace: "cache:apikeys:", TagTTL: time.Hour}); err != nil {
			return err
		}
	}
	s, err := New(config)
	if err != nil {
		return err
	}
	for range rounds {
		for range roundUses {
			s.Used("k", time.Now())
		}
		fmt.Println("round")
		if err := s.Flush(ctx); err != nil {
			return err
		}
	}
	return db.Close()
}

func TestAKilledProcessLosesASecondOfItsOwnAndCountsNothingTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Redis")
	}
	server := parts.StartRedis(t, "--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru")
	for point, lost := range map[string]int{
		"usage: before a batch is in the shared store": roundUses, // what the process alone knew
		"usage: after a batch is in the shared store":  0,
		"usage: before a batch is in the database":     0,
		"usage: after a batch is in the database":      0,
		"usage: before a batch's name is forgotten":    0,
	} {
		t.Run(point, func(t *testing.T) {
			if _, err := server.Do("FLUSHALL"); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "test.db")
			counted, err := runChild(point, file, server.Addr())
			if err == nil {
				t.Fatal("it was not killed")
			}
			more, err := runChild("none", file, server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			db, err := models.Open(t.Context(), models.Config{Driver: models.SQLite, DSN: file})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			usage, err := db.Usage(t.Context(), []string{"k"})
			if want := counted + more - lost; err != nil || len(usage) != 1 || int(usage[0].Count) != want {
				t.Errorf("stored %+v, %v; want %d of %d", usage, err, want, counted+more)
			}
		})
	}
}

func runChild(point, file, address string) (counted int, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childPoint+"="+point, childFile+"="+file, childRedis+"="+address)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.Count(string(out), "round") * roundUses, err
}
