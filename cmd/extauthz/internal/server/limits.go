package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/inbound"
)

// Limits of the listeners for people and Prometheus.
const (
	operatorHeaderBytes = 64 << 10
	operatorPending     = 16 << 20
	operatorIdleTime    = 5 * time.Minute
	// stallTime is how long a connection may leave a request incomplete, or an answer
	// unread.
	stallTime = 10 * time.Second
	// otherFiles is the number of file descriptors for everything except connections of
	// the listeners and to the database: Redis, traces, files that are read again.
	otherFiles = 200
	// fewestConnections is what each listener may still have if file descriptors are few.
	fewestConnections = 10
)

// inbounds bounds what the clients of each listener can use. A bound is made before its
// listener is opened, because the server behind the listener needs it.
type inbounds struct {
	grpc, http, admin, ops *inbound.Listener
	metrics                *inbound.Metrics
}

// boundOps puts a bound around the ops listener, which is opened first.
func (i *inbounds) boundOps(c *config.Config, l *listeners, log *slog.Logger) {
	most := connectionLimits(c, openFiles(), slog.New(slog.DiscardHandler)) // bound logs the warning, once
	i.ops = i.make("ops", most, operatorPending, log)
	i.ops.Listener, l.ops = l.ops, i.ops
}

// bound makes the bounds of the other listeners.
func (i *inbounds) bound(c *config.Config, log *slog.Logger) {
	most := connectionLimits(c, openFiles(), log)
	i.grpc = i.make("grpc", most, int64(c.GRPC.MaxPendingMiB)<<20, log)
	i.http = i.make("http", most, int64(c.HTTP.MaxPendingMiB)<<20, log)
	i.admin = i.make("admin", most, operatorPending, log)
}

func (i *inbounds) make(name string, most map[string]int, pending int64, log *slog.Logger) *inbound.Listener {
	return inbound.Listen(nil, inbound.Config{Name: name, Connections: most[name], Pending: pending, Stall: stallTime, Logger: log, Metrics: i.metrics})
}

// around puts the bounds around the listeners, after these were opened.
func (i *inbounds) around(l *listeners) {
	i.grpc.Listener, l.grpc = l.grpc, i.grpc
	i.http.Listener, l.http = l.http, i.http
	i.admin.Listener, l.admin = l.admin, i.admin
}

// connectionLimits returns the configured limits. It returns lower ones if the process
// may not open as many files, because otherwise one listener could take the files of the
// others.
func connectionLimits(c *config.Config, files uint64, log *slog.Logger) map[string]int {
	most := map[string]int{"grpc": c.GRPC.MaxConnections, "http": c.HTTP.MaxConnections, "admin": c.Admin.MaxConnections, "ops": c.Ops.MaxConnections}
	sum, beside := 0, uint64(otherFiles+2*c.Database.MaxOpen)
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

// held estimates the bytes that all clients together hold.
func (i inbounds) held() (bytes int64) {
	for _, l := range []*inbound.Listener{i.grpc, i.http, i.admin, i.ops} {
		bytes += l.Held()
	}
	return bytes
}

// run sweeps the connections of all listeners except ops until ctx ends.
func (i inbounds) run(ctx context.Context) {
	var running sync.WaitGroup
	for _, l := range []*inbound.Listener{i.grpc, i.http, i.admin} {
		running.Go(func() { l.Run(ctx) })
	}
	running.Wait()
}

// operatorServer makes a server for people and Prometheus, with limits of time and size.
func operatorServer(h http.Handler, secure *tls.Config) *http.Server {
	return &http.Server{Handler: h, TLSConfig: secure, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: operatorIdleTime, MaxHeaderBytes: operatorHeaderBytes}
}
