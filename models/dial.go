package models

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// nextHostAfter is how long to wait for one host before the next one is tried in
	// parallel. A host that accepts and never answers costs a new connection this much,
	// whatever the connect timeout is.
	nextHostAfter = 500 * time.Millisecond
	// A dead peer is noticed after keepAliveIdle + 3 × keepAliveEvery.
	keepAliveIdle  = 15 * time.Second
	keepAliveEvery = 5 * time.Second
)

// connect makes one connection to the first host, in the order of the settings, that
// satisfies target_session_attrs. Each address has ConnectTimeout.
func connect(ctx context.Context, config *pgx.ConnConfig) (*stdlib.Conn, error) {
	var hosts []attempt
	for _, host := range hostsOf(config) {
		hosts = append(hosts, func(ctx context.Context) (*stdlib.Conn, error) { return connectHost(ctx, host) })
	}
	conn, err := race(ctx, hosts)
	if notPreferred := (*pgconn.NotPreferredError)(nil); errors.As(err, &notPreferred) && ctx.Err() == nil {
		return connectOne(ctx, config) // prefer-standby without a standby: pgx then accepts any server
	}
	return conn, err
}

// connectOne makes a connection as pgx does.
func connectOne(ctx context.Context, config *pgx.ConnConfig) (*stdlib.Conn, error) {
	conn, err := stdlib.GetConnector(*config).Connect(ctx)
	if err != nil {
		return nil, err
	}
	return conn.(*stdlib.Conn), nil
}

// hostsOf splits settings into one for each host and port. A host's entries
// with and without TLS (sslmode=prefer) stay together.
func hostsOf(config *pgx.ConnConfig) []*pgx.ConnConfig {
	entries := append([]*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	var hosts []*pgx.ConnConfig
	for _, e := range entries {
		if n := len(hosts); n > 0 && hosts[n-1].Host == e.Host && hosts[n-1].Port == e.Port {
			hosts[n-1].Fallbacks = append(hosts[n-1].Fallbacks, e)
			continue
		}
		host := config.Copy()
		host.Host, host.Port, host.TLSConfig, host.Fallbacks = e.Host, e.Port, e.TLSConfig, nil
		hosts = append(hosts, host)
	}
	return hosts
}

// connectHost tries the addresses of one host's name.
func connectHost(ctx context.Context, config *pgx.ConnConfig) (*stdlib.Conn, error) {
	lookup, cancel := context.WithTimeout(ctx, config.ConnectTimeout)
	defer cancel()
	if network, _ := pgconn.NetworkAddress(config.Host, config.Port); network == "unix" {
		return connectOne(ctx, config)
	}
	found, err := config.LookupFunc(lookup, config.Host)
	if err != nil {
		return nil, err
	}
	var addresses []attempt
	for _, address := range found {
		one := config.Copy() // its TLS settings carry the host's name already
		one.LookupFunc = func(context.Context, string) ([]string, error) { return []string{address}, nil }
		addresses = append(addresses, func(ctx context.Context) (*stdlib.Conn, error) { return connectOne(ctx, one) })
	}
	return race(ctx, addresses)
}

type attempt func(context.Context) (*stdlib.Conn, error)

// race starts the attempts one after the other: the next one when the last one has failed
// or has taken [nextHostAfter]. It returns the first connection, and closes those that
// come later.
func race(ctx context.Context, attempts []attempt) (*stdlib.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the attempts that lost
	type outcome struct {
		conn *stdlib.Conn
		err  error
	}
	outcomes := make(chan outcome)
	errs := make([]error, 0, len(attempts))
	for started, wait := 0, time.Duration(0); len(errs) < len(attempts); {
		var next <-chan time.Time
		if started < len(attempts) {
			next = time.After(wait)
		}
		select {
		case <-next:
			run := attempts[started]
			started++
			wait = nextHostAfter
			go func() {
				conn, err := run(ctx)
				select {
				case outcomes <- outcome{conn, err}:
				case <-ctx.Done():
					if conn != nil {
						discard(conn.Conn())
					}
				}
			}()
		case o := <-outcomes:
			if o.err == nil {
				return o.conn, nil
			}
			errs, wait = append(errs, o.err), 0
		case <-ctx.Done():
			return nil, errors.Join(append(errs, ctx.Err())...)
		}
	}
	if len(errs) == 0 {
		return nil, errors.New("the host has no address")
	}
	return nil, errors.Join(errs...)
}

// discard closes a connection whose host may not answer. It waits for [goodbye] at most.
func discard(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	_ = conn.Close(ctx)
}

// dialer detects a peer that is gone sooner than by default, which takes five minutes.
func dialer() pgconn.DialFunc {
	return (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: 3}}).DialContext
}
