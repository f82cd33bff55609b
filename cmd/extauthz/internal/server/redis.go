package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"extauthz/cachesvc/store/redis"
	"extauthz/cmd/extauthz/internal/config"
)

// tagSlack is how much longer than anything else the sets of tags live.
const tagSlack = time.Minute

// openRedis makes the client and the store of the configured Redis, nil for
// none. It does no I/O: a Redis that is away is no reason not to start.
func openRedis(c *config.Config) (goredis.UniversalClient, *redis.Store, error) {
	r := c.Cache.Redis
	if len(r.Addresses) == 0 {
		return nil, nil, nil
	}
	secure, err := redisTLS(r.TLS)
	if err != nil {
		return nil, nil, err
	}
	client, err := redis.Connect(redis.Connection{
		Addresses: r.Addresses, Mode: r.Mode, SentinelMaster: r.SentinelMaster, SentinelPassword: r.SentinelPassword.Reveal(),
		Username: r.Username, Password: r.Password.Reveal(), DB: r.DB, TLS: secure,
	})
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

func redisTLS(t config.RedisTLS) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cache.redis.tls.ca_file can't be read: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cache.redis.tls.ca_file: %s holds no PEM certificate", t.CAFile)
		}
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
