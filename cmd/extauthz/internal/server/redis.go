package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"extauthz/cachesvc/store/redis"
	validity "extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/credentials"
)

// tagSlack is how much longer sets of tags live than the longest-lived entry.
const tagSlack = time.Minute

// openRedis makes the client and the store for the configured Redis; both are nil if none
// is configured. It does no I/O, so that an unreachable Redis does not prevent a start.
func openRedis(c *config.Config, log *slog.Logger) (goredis.UniversalClient, *redis.Store, error) {
	r := c.Cache.Redis
	if len(r.Addresses) == 0 {
		return nil, nil, nil
	}
	connection := redis.Connection{Addresses: r.Addresses, Mode: r.Mode, SentinelMaster: r.SentinelMaster, Username: r.Username, DB: r.DB,
		Password: redis.FixedPassword(r.Password.Reveal()), SentinelPassword: redis.FixedPassword(r.SentinelPassword.Reveal())}
	if p := r.PasswordSource(changedSecret(log, "cache.redis.password")); p != nil {
		connection.Password = p
	}
	if p := r.SentinelPasswordSource(changedSecret(log, "cache.redis.sentinel_password")); p != nil {
		connection.SentinelPassword = p
	}
	if r.TLS.Enabled {
		files := &credentials.LastGood[*tls.Config]{Read: func() (*tls.Config, error) { return redisTLS(r.TLS) }, Changed: changedSecret(log, "cache.redis.tls")}
		if _, err := files.Current(); err != nil {
			return nil, nil, err
		}
		connection.TLS = files.Current
	}
	client, err := redis.Connect(connection)
	if err != nil {
		return nil, nil, fmt.Errorf("cache.redis: %w", err)
	}
	t := c.Cache.TTL
	s, err := redis.New(redis.Config{Client: client, Namespace: c.Cache.Namespace + ":", TagTTL: max(t.Validation, t.Scope, t.UserList, t.Stats) + tagSlack})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cache.redis: %w", err), client.Close())
	}
	return client, s, nil
}

// redisTLS reads the files for TLS towards Redis.
func redisTLS(t config.RedisTLS) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pool, err := validity.Pool(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cache.redis.tls.ca_file: %w", err)
		}
		c.RootCAs = pool
	}
	if t.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cache.redis.tls: %w", err)
		}
		c.Certificates = []tls.Certificate{certificate}
	}
	return c, nil
}

// changedSecret returns a function that logs when credentials for new connections can't
// be read, and when they can be again.
func changedSecret(log *slog.Logger, setting string) func(error) {
	return func(err error) {
		if err != nil {
			log.Warn("credentials can't be read: the last good ones stay", "setting", setting, "error", err)
			return
		}
		log.Info("credentials can be read again", "setting", setting)
	}
}
