package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// The modes of a [Connection].
const (
	ModeSingle   = "single"
	ModeSentinel = "sentinel"
	ModeCluster  = "cluster"
)

// The context of a call for which a check waits is shorter than these times.
const (
	dialTimeout = time.Second
	ioTimeout   = 3 * time.Second
	poolSize    = 64
	idle        = 2
	redirects   = 3
)

// connectionLife is the lifetime of a connection, give or take a fifth. Its end also ends
// connections that were made with older credentials. Clouds end such connections
// themselves, but only after hours.
const connectionLife = 5 * time.Minute

// Connection holds the address of Redis and how to log in. The functions are called for
// each new connection.
type Connection struct {
	Addresses      []string // host:port of the server, of the Sentinels, or of some of the Cluster's nodes
	Mode           string   // ModeSingle if empty
	SentinelMaster string
	Username       string
	// Sources of the passwords; nil: no password. [FixedPassword] is a source of one that
	// does not change.
	Password         PasswordSource
	SentinelPassword PasswordSource
	DB               int
	TLS              func() (*tls.Config, error) // nil: plain text
}

// FixedPassword returns a source of a password that does not change. An empty text is no
// password.
func FixedPassword(password string) PasswordSource { return fixed(password) }

// Connect makes a client. It does no I/O.
func Connect(c Connection) (goredis.UniversalClient, error) {
	goredis.SetLogger(silentLogger{})
	if len(c.Addresses) == 0 {
		return nil, fmt.Errorf("no address of Redis is given")
	}
	o := &goredis.UniversalOptions{
		Addrs: c.Addresses, MasterName: c.SentinelMaster, DB: c.DB, Dialer: newDialer(c).dial,
		MaxRetries: -1, MaxRedirects: redirects, DialTimeout: dialTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout,
		ContextTimeoutEnabled: true, PoolTimeout: dialTimeout, PoolSize: poolSize, MinIdleConns: idle, DisableIdentity: true,
		ConnMaxLifetime: connectionLife, ConnMaxLifetimeJitter: connectionLife / 5,
		DialerRetries: 1, PipelinePoolSize: -1, // no second pool with large buffers
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	switch c.Mode {
	case ModeSingle, "":
		return goredis.NewClient(o.Simple()), nil
	case ModeSentinel:
		return goredis.NewFailoverClient(o.Failover()), nil
	case ModeCluster:
		cluster := o.Cluster()
		// To route commands the client would first request the list of commands from a
		// node, with no regard to the caller's deadline. The list is not needed: all
		// commands here have their key in first place.
		cluster.DisableRoutingPolicies = true
		return goredis.NewClusterClient(cluster), nil
	}
	return nil, fmt.Errorf("mode %q of Redis: write %s, %s or %s", c.Mode, ModeSingle, ModeSentinel, ModeCluster)
}

func newDialer(c Connection) *dialer {
	d := &dialer{tls: c.TLS, data: &login{username: c.Username, source: c.Password}, sentinel: &login{source: c.SentinelPassword}}
	for _, l := range []*login{d.data, d.sentinel} {
		if l.source == nil {
			l.source = fixed("")
		}
	}
	if c.Mode == ModeSentinel {
		d.sentinels = c.Addresses
	}
	return d
}

// silentLogger drops what the client would print by itself. Every failure is also the
// error of a call, which the caller reports.
type silentLogger struct{}

func (silentLogger) Printf(context.Context, string, ...any) {}
