package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/inbound"
)

// What the listeners that serve people and Prometheus allow.
const (
	peopleHeaderBytes = 64 << 10
	peoplePending     = 16 << 20
	peopleIdleTime    = 5 * time.Minute
	// stallTime is how long a connection may leave what it began, and what it is sent.
	stallTime = 10 * time.Second
	// filesBeside are the file descriptors for all but the listeners' connections and
	// the database's: Redis, traces, files that are read again.
	filesBeside = 200
	// fewestConnections are left to each listener where file descriptors are few.
	fewestConnections = 10
)

// inbounds bound what the listeners' clients can take.
type inbounds struct{ grpc, http, admin, ops *inbound.Listener }

// bound puts bounds around the listeners.
func (l *listeners) bound(c *config.Config, r prometheus.Registerer, log *slog.Logger) inbounds {
	metrics := inbound.NewMetrics(r)
	most := connectionLimits(c, openFiles(), log)
	around := func(l *net.Listener, name string, pending int64) *inbound.Listener {
		in := inbound.Listen(*l, inbound.Config{Name: name, Connections: most[name], Pending: pending, Stall: stallTime, Logger: log, Metrics: metrics})
		*l = in
		return in
	}
	return inbounds{
		grpc:  around(&l.grpc, "grpc", int64(c.GRPC.MaxPendingMiB)<<20),
		http:  around(&l.http, "http", int64(c.HTTP.MaxPendingMiB)<<20),
		admin: around(&l.admin, "admin", peoplePending),
		ops:   around(&l.ops, "ops", peoplePending),
	}
}

// connectionLimits are the configured ones, or less where the process may not have
// as many files open: one listener would take those of the others.
func connectionLimits(c *config.Config, files uint64, log *slog.Logger) map[string]int {
	most := map[string]int{"grpc": c.GRPC.MaxConnections, "http": c.HTTP.MaxConnections, "admin": c.Admin.MaxConnections, "ops": c.Ops.MaxConnections}
	sum, beside := 0, uint64(filesBeside+2*c.Database.MaxOpen)
	for _, n := range most {
		sum += n
	}
	if files >= uint64(sum)+beside {
		return most
	}
	left := uint64(0)
	if files > beside {
		left = files - beside
	}
	for name, n := range most {
		most[name] = max(min(n, fewestConnections), int(uint64(n)*left/uint64(sum)))
	}
	log.Warn("the process may not have as many files open as max_connections of all listeners allow: each listener takes fewer connections; raise the limit of open files (ulimit -n, LimitNOFILE), or lower max_connections",
		"open_files", files, "needed", uint64(sum)+beside, "grpc", most["grpc"], "http", most["http"], "admin", most["admin"], "ops", most["ops"])
	return most
}

// held is what all clients hold, in bytes, by estimate.
func (i inbounds) held() (bytes int64) {
	for _, l := range []*inbound.Listener{i.grpc, i.http, i.admin, i.ops} {
		bytes += l.Held()
	}
	return bytes
}

// run looks at all connections until ctx ends, and returns what waits for that.
func (i inbounds) run(ctx context.Context) (wait func()) {
	var running sync.WaitGroup
	for _, l := range []*inbound.Listener{i.grpc, i.http, i.admin, i.ops} {
		running.Go(func() { l.Run(ctx) })
	}
	return running.Wait
}

// forPeople is a server for people and Prometheus, with bounds of time and size.
func forPeople(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: peopleIdleTime, MaxHeaderBytes: peopleHeaderBytes}
}
