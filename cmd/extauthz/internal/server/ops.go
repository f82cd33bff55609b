package server

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"extauthz/cachesvc"
)

// readiness is what /readyz and gRPC health say: not serving before the first
// load of the change feed and while draining, serving in every degraded mode.
type readiness struct {
	loaded, draining atomic.Bool
	listening        atomic.Bool // the database tells of changes at once; else they are polled for
}

func opsHandler(r *readiness, cache *cachesvc.Service, poll time.Duration, loads *reloads, registry *prometheus.Registry, version string, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", inTurn(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state, status := "serving", http.StatusOK
		switch {
		case r.draining.Load():
			state, status = "draining", http.StatusServiceUnavailable
		case !r.loaded.Load():
			state, status = "starting", http.StatusServiceUnavailable
		}
		writeJSON(w, status, map[string]any{"state": state, "cache": cacheDetail(cache.Status()), "changes": changesDetail(r.listening.Load(), poll), "config": loads.detail()})
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": version})
	})
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// changesDetail tells how changes of other replicas come, and how long one takes
// where nothing else rings for it.
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
		"lease_holds": s.LeaseHolds, "database_up": s.DatabaseUp, "database_ahead": s.DatabaseAhead.Round(time.Millisecond).String(),
		"epoch": s.Epoch, "recent_changes": s.RecentChanges, "usage_pending": s.UsagePending, "redis": s.Shared, "redis_believed": s.Believed, "members": s.Members}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // nobody is left to tell
}
