package server

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"extauthz/cachesvc"
	"extauthz/envoy"
)

// The states of a service.
const (
	stateStarting = "starting" // the database or the first read of the change feed is waited for
	stateServing  = "serving"
	stateNotReady = "not_ready" // a condition that makes a replica not ready is active
	stateDraining = "draining"
)

// readiness is what /readyz and gRPC health report: not serving before the first
// load of the change feed and while draining, serving in every degraded mode but
// those whose condition says otherwise. Safe for concurrent use.
type readiness struct {
	loaded, draining atomic.Bool
	blocked          atomic.Bool // by a condition
	listening        atomic.Bool // the database notifies of changes at once; else they are polled for

	cache atomic.Pointer[cachesvc.Service] // nil before the database has answered
	grpc  atomic.Pointer[envoy.Server]     // likewise

	health sync.Mutex // gRPC health gets the last state, not the one before it
}

func (r *readiness) state() string {
	switch {
	case r.draining.Load():
		return stateDraining
	case !r.loaded.Load():
		return stateStarting
	case r.blocked.Load():
		return stateNotReady
	}
	return stateServing
}

// opsHandler serves from the first moment, when there is no cache yet.
func (s *Server) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", limitScrapes(promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state, status := s.ready.state(), http.StatusOK
		if state != stateServing {
			status = http.StatusServiceUnavailable
		}
		answer := map[string]any{"state": state, "conditions": s.conditions.Active(), "config": s.reloads.detail()}
		if cache := s.ready.cache.Load(); cache != nil {
			answer["cache"], answer["changes"] = cacheDetail(cache.Status()), changesDetail(s.ready.listening.Load(), s.c.Settings.Cache.Feed.Poll)
		}
		writeJSON(w, status, answer)
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": s.c.Version})
	})
	if s.c.Settings.Ops.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// changesDetail describes how changes of other replicas arrive, and how long one takes
// without a notification.
func changesDetail(listening bool, poll time.Duration) map[string]any {
	how := "polled"
	if listening {
		how = "listening"
	}
	return map[string]any{"how": how, "poll": poll.String()}
}

// cacheDetail is a cache's state for people; durations are in words.
func cacheDetail(s cachesvc.Status) map[string]any {
	return map[string]any{"state": s.State, "feed_age": s.FeedAge.Round(time.Millisecond).String(), "feed_error": s.FeedError,
		"lease_fresh": s.LeaseFresh, "database_up": s.DatabaseUp, "database_ahead": s.DatabaseAhead.Round(time.Millisecond).String(),
		"epoch": s.Epoch, "recent_changes": s.RecentChanges, "usage_pending": s.UsagePending, "redis": s.Shared, "redis_trusted": s.Trusted, "members": s.Members}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has left
}
