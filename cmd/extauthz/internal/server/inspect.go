package server

import (
	"log/slog"

	goredis "github.com/redis/go-redis/v9"

	"extauthz/cachesvc/store/redis"
	"extauthz/cmd/extauthz/internal/config"
)

// OpenRedis makes the client and the store for the configured Redis; both are nil if none
// is configured. It does no I/O.
func OpenRedis(c *config.Config) (goredis.UniversalClient, *redis.Store, error) {
	return openRedis(c, slog.New(slog.DiscardHandler))
}
