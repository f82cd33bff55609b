package models

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// pooledConfig is the configuration of an empty database behind a PgBouncer in
// transaction mode, which opens at most so many connections to it.
func pooledConfig(t *testing.T, connections int) Config {
	t.Helper()
	c := postgresConfig(t)
	c.DSN = parts.StartPgBouncer(t, server, fmt.Sprintf("default_pool_size = %d", connections)).Through(c.DSN)
	return c
}

func TestMigrate_ConcurrentStartsMigrateOnce(t *testing.T) {
	for name, c := range map[string]func(*testing.T) Config{
		"one connection each": func(t *testing.T) Config { c := postgresConfig(t); c.MaxOpen = 1; return c },
		"a pool of two":       func(t *testing.T) Config { return pooledConfig(t, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			c := c(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var group sync.WaitGroup
			for range 5 {
				db := opened(t, c)
				group.Go(func() {
					if err := db.Migrate(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
		})
	}
}

func TestMigrate_NamesAPoolerWithOneConnection(t *testing.T) {
	db := opened(t, pooledConfig(t, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := db.Migrate(ctx); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "default_pool_size") {
		t.Errorf("got %v", err)
	}
}
