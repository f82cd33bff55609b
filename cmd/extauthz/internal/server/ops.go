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

// The states of a service in /readyz.
const (
	stateStarting = "starting" // waiting for the database, or for the first read of the change feed
	stateServing  = "serving"
	stateNotReady = "not_ready" // a condition is active that makes the replica not ready
	stateDraining = "draining"
)

// readiness is the state that /readyz and gRPC health report. A replica is not serving
// before it has loaded the change feed once, while it drains, and while a condition
// demands it; in all other degraded modes it is serving. Safe for concurrent use.
type readiness struct {
	loaded, draining atomic.Bool
	blocked          atomic.Bool // a condition makes the replica not ready
	listening        atomic.Bool // the database notifies of changes; otherwise they are polled for

	cache atomic.Pointer[cachesvc.Service] // nil until the database has answered
	grpc  atomic.Pointer[envoy.Server]     // nil until the database has answered

	health sync.Mutex // orders the reports to gRPC health, so that the last state wins
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

// opsHandler handles requests from the first moment, before there is a cache.
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

// changesDetail describes how this replica learns of changes by others, and how long that
// takes without notifications.
func changesDetail(listening bool, poll time.Duration) map[string]any {
	how := "polled"
	if listening {
		how = "listening"
	}
	return map[string]any{"how": how, "poll": poll.String()}
}

// cacheDetail describes a cache's state for people, with durations as text.
func cacheDetail(s cachesvc.Status) map[string]any {
	return map[string]any{"state": s.State, "feed_age": s.FeedAge.Round(time.Millisecond).String(), "feed_error": s.FeedError,
		"lease_fresh": s.LeaseFresh, "database_up": s.DatabaseUp, "database_ahead": s.DatabaseAhead.Round(time.Millisecond).String(),
		"epoch": s.Epoch, "recent_changes": s.RecentChanges, "usage_pending": s.UsagePending, "redis": s.Shared, "redis_trusted": s.Trusted, "members": s.Members}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error means that the client has left
}
