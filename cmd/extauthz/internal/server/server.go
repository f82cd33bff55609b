package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
	"extauthz/cachesvc"
	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/telemetry"
	"extauthz/envoy"
	"extauthz/inbound"
	"extauthz/models"
)

// The time limits of a shutdown, which apply one after the other.
const (
	drainTime = 10 * time.Second // for checks in progress
	flushTime = 5 * time.Second  // for writing counted uses
	trimEvery = 10 * time.Minute
	// usageMarksKept is longer than any batch of usage may wait to be written.
	usageMarksKept = 30 * 24 * time.Hour
	readTimeout    = 10 * time.Second
	writeTimeout   = 60 * time.Second
)

// Config holds what a Server needs.
type Config struct {
	Settings *config.Config
	// Load reads the configuration again, for a reload.
	Load    func() (*config.Config, error)
	Logger  *slog.Logger
	Level   *slog.LevelVar
	Version string
}

// Server is the assembled service.
type Server struct {
	c          Config
	registry   *prometheus.Registry
	conditions *conditions.Registry
	oldest     prometheus.Gauge // age of the oldest transaction that is too old; else 0

	reloading sync.Mutex // one reload at a time; it guards settings, secure, loaded and started
	loaded    string     // stamp of the files when they were read last
	settings  *config.Config
	secure    map[string]*certificates // by section; nil: plain text
	started   bool                     // everything is assembled; before that, a reload only replaces the settings

	log            *slog.Logger
	db             *models.DB
	opened         time.Time // when the database was open and migrated
	cache          *cachesvc.Service
	keys           *keyring.Service
	administrators *administrators.Service
	redis          goredis.UniversalClient // nil if none is configured
	traces         *telemetry.Traces       // nil if none are sent
	policies       *policies
	check          *envoy.Service
	grpc           *envoy.Server
	http           *http.Server
	admin          *http.Server
	ops            *http.Server
	ready          readiness
	listen         listeners
	inbound        inbounds
	reloads        *reloads
	// exchanged gets a value after each reload that took effect.
	exchanged chan struct{}
	stock     *inventory
	replicas  *replicas
	retention *retention
}

// New opens the ops listener, and checks that the others can be opened. Its only other
// I/O is reading the files that the configuration names, so that health can be served
// while the database is not yet available. Nothing is served before Run. On an error, New
// closes everything that it has opened.
func New(c Config) (s *Server, err error) {
	if s, err = prepare(c); err != nil {
		return nil, err
	}
	if s.listen, err = listenOps(c.Settings); err != nil {
		return nil, err
	}
	s.ops = operatorServer(s.opsHandler(), s.secure["ops"].config())
	s.inbound.boundOps(c.Settings, &s.listen, c.Logger)
	s.inbound.ops.Guard(s.ops)
	return s, nil
}

// prepare makes the parts that need neither database nor ports.
func prepare(c Config) (s *Server, err error) {
	s = &Server{c: c, settings: c.Settings, loaded: stampOf(c.Settings.Files()), log: c.Logger, registry: prometheus.NewRegistry(), exchanged: make(chan struct{}, 1)}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.reloads = newReloads(s.registry, fileDigest(c.Settings.File()))
	s.conditions = conditions.New(conditions.Config{Logger: c.Logger, Registerer: s.registry, ReadyChanged: func(ready bool) {
		s.ready.blocked.Store(!ready)
		s.updateHealth()
	}})
	s.inbound.metrics = inbound.NewMetrics(s.registry)
	s.oldest = prometheus.NewGauge(prometheus.GaugeOpts{Name: "extauthz_database_oldest_transaction_seconds",
		Help: "Age of the oldest transaction in the database's cluster, where it is open for more than five minutes; else 0."})
	s.registry.MustRegister(s.oldest)
	s.secure, err = newSecure(c.Settings, c.Logger)
	return s, err
}

// Run serves health at once, and everything else when the database answers. It returns
// when ctx ends. It also returns when any listener fails, which ends the process, since
// half a service is worse than none.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	ops := s.listen.ops
	group.Go(func() error { return serveHTTP(s.ops, ops) })
	group.Go(func() error { s.inbound.ops.Run(ctx); return nil })
	group.Go(func() error { s.conditions.Run(ctx, s.startChecks()...); return nil })
	group.Go(func() error { return s.watch(ctx) })
	group.Go(func() error {
		defer s.shutOps()
		started, err := s.start(ctx)
		if err == nil && started {
			err = s.serve(ctx)
		}
		return errors.Join(err, s.close(ctx))
	})
	err := group.Wait()
	if err == nil {
		s.log.Info("stopped")
	}
	return err
}

// close closes everything that was opened, except the ops listener.
func (s *Server) close(ctx context.Context) error {
	l := s.listen
	l.ops = nil
	l.close()
	err := s.closeRedis()
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	s.closeTraces(ctx)
	return err
}

// serve answers checks until ctx ends or a listener fails.
func (s *Server) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	cacheDone := make(chan error, 1)
	go func() { cacheDone <- s.cache.Run(background) }()
	var limits sync.WaitGroup // these limits stay in force while connections drain
	limits.Go(func() { s.inbound.run(background) })
	limits.Go(func() { s.paceCollections(background) })

	group.Go(func() error { return s.grpc.Serve(s.listen.grpc) })
	group.Go(func() error { return serveHTTP(s.http, s.listen.http) })
	group.Go(func() error { return serveHTTP(s.admin, s.listen.admin) })
	group.Go(func() error { return s.trim(ctx) })
	group.Go(func() error { return s.stock.run(ctx) })
	group.Go(func() error { return s.replicas.run(ctx) })
	group.Go(func() error { s.conditions.Run(ctx, s.checks()...); return nil })
	group.Go(func() error { return s.keepSchema(ctx) })
	group.Go(func() error { return s.retention.run(ctx) })
	if database, ok := listenConfig(s.c.Settings, s.log); ok {
		group.Go(func() error {
			return models.Listen(ctx, models.ListenConfig{Database: database, Notify: s.cache.Wake, Listening: s.ready.listening.Store, Logger: s.log})
		})
	}
	group.Go(func() error {
		select {
		case <-s.cache.Ready():
			s.awaitWarm(ctx)
			s.replicas.awaitCount(ctx)
			s.ready.loaded.Store(true)
			s.updateHealth()
			s.log.Info("serving", "grpc", s.listen.grpc.Addr().String(), "http", s.listen.http.Addr().String(), "admin", s.listen.admin.Addr().String(),
				"ops", s.listen.ops.Addr().String(), "version", s.c.Version)
		case <-ctx.Done():
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		s.drain()
		return nil
	})
	err := group.Wait()

	// The last check has been answered and its use counted. Now all counts are written.
	stopBackground()
	limits.Wait()
	err = errors.Join(err, <-cacheDone)
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	return errors.Join(err, s.cache.Flush(flush))
}

// updateHealth reports by gRPC health whether this replica should get checks. Safe for
// concurrent use, and before there is a gRPC server.
func (s *Server) updateHealth() {
	s.ready.health.Lock()
	defer s.ready.health.Unlock()
	if g := s.ready.grpc.Load(); g != nil {
		g.SetServing(s.ready.state() == stateServing)
	}
}

// awaitWarm waits for the warming at the start, but only for a limited time, because a
// cold cache works too. The time counts from the opening of the database, so that a slow
// database does not delay the start twice.
func (s *Server) awaitWarm(ctx context.Context) {
	wait := time.NewTimer(s.c.Settings.Cache.Warm.Wait - time.Since(s.opened))
	defer wait.Stop()
	select {
	case <-s.cache.Warmed():
	case <-wait.C:
	case <-ctx.Done():
	}
}

func (s *Server) closeRedis() error {
	if s.redis == nil {
		return nil
	}
	return s.redis.Close()
}

// drain reports NOT_SERVING, lets checks in progress end, and then stops what is still
// running.
func (s *Server) drain() {
	s.ready.draining.Store(true)
	s.updateHealth()
	s.log.Info("draining", "delay", s.c.Settings.GRPC.DrainDelay.String())
	time.Sleep(s.c.Settings.GRPC.DrainDelay) // so that gateways notice
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	stopped := make(chan struct{})
	go func() { s.grpc.GracefulStop(); close(stopped) }()
	shutHTTP(ctx, s.http) // in parallel with gRPC, so that both have the whole time for their checks
	select {
	case <-stopped:
	case <-ctx.Done():
		s.grpc.Stop()
		<-stopped
	}
	shutHTTP(ctx, s.admin)
}

// shutOps stops health and metrics; their listener is the last to close.
func (s *Server) shutOps() {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	shutHTTP(ctx, s.ops)
}

func shutHTTP(ctx context.Context, h *http.Server) {
	if h.Shutdown(ctx) != nil {
		_ = h.Close()
	}
}

// trim deletes rows that the change feed and the usage no longer need.
func (s *Server) trim(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.db.TrimUsageMarks(ctx, s.cache.Now().Add(-usageMarksKept)); err != nil && ctx.Err() == nil {
				s.log.Warn("marks of usage can't be trimmed", "error", err)
			}
			if err := s.db.TrimOutbox(ctx, s.c.Settings.Cache.Feed.Retention+trimEvery); err != nil && ctx.Err() == nil {
				s.log.Warn("change feed can't be trimmed", "error", err)
			}
		}
	}
}

// serveHTTP serves until the server is shut down; that is not an error.
func serveHTTP(h *http.Server, l net.Listener) (err error) {
	if h.TLSConfig != nil {
		err = h.ServeTLS(l, "", "")
	} else {
		err = h.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
