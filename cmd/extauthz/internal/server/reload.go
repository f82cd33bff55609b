package server

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/cmd/extauthz/internal/config"
)

// reloads records the results of loading the configuration. Safe for concurrent use.
type reloads struct {
	total    *prometheus.CounterVec
	good     prometheus.Gauge // 1 if the last load went well
	loadedAt prometheus.Gauge

	mu     sync.Mutex
	at     time.Time // when the configuration in effect was read
	err    string    // why a later configuration was refused; "" if none was
	digest string    // of the file that was read last, in effect or not
}

// inlineSecret matches what may be a secret in a configuration file: a setting for a
// secret, or credentials in a URL.
var inlineSecret = regexp.MustCompile(`(?i)(?:dsn|password)["']?\s*:|://[^/\s]*@`)

// fileDigest returns the SHA-256 of a file, by which a deployment recognises the file
// that it wrote. It returns "" if the file can't be read, or may hold a secret: every
// client of the ops listener can read the digest, and could test guesses of the secret
// against it.
func fileDigest(path string) string {
	text, err := os.ReadFile(path)
	if err != nil || inlineSecret.Match(text) {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

func newReloads(registry prometheus.Registerer, digest string) *reloads {
	r := &reloads{
		total:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "extauthz_config_reloads_total", Help: "Reloads of the configuration, by result."}, []string{"result"}),
		good:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "extauthz_config_last_reload_successful", Help: "1 if the configuration that was read last is in effect, 0 if it was refused."}),
		loadedAt: prometheus.NewGauge(prometheus.GaugeOpts{Name: "extauthz_config_loaded_timestamp_seconds", Help: "When the configuration in effect was read."}),
	}
	registry.MustRegister(r.total, r.good, r.loadedAt)
	for _, result := range []string{"ok", "failed"} { // exist from the start, so that a rate can be computed
		r.total.WithLabelValues(result)
	}
	r.recordLoaded(digest)
	return r
}

func (r *reloads) recordLoaded(digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.err, r.digest = time.Now(), "", digest
	r.good.Set(1)
	r.loadedAt.Set(float64(r.at.Unix()))
}

func (r *reloads) recordRefused(err error, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.digest = err.Error(), digest
	r.good.Set(0)
}

// refusal is why a later configuration than the one in effect was refused; "" if none was.
func (r *reloads) refusal() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// detail returns this part of the answer of /readyz.
func (r *reloads) detail() map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[string]any{"loaded_at": r.at.UTC().Format(time.RFC3339), "error": r.err, "digest": r.digest}
}

// Reload reads the configuration again, and replaces everything that can be replaced, all
// or nothing. A faulty file changes nothing. Safe for concurrent use.
func (s *Server) Reload() {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.load("")
}

// reloadRefused loads a configuration again that was refused. It reports a refusal for another
// reason; the same one leaves everything as it is.
func (s *Server) reloadRefused() {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if known := s.reloads.refusal(); known != "" {
		s.load(known)
	}
}

// load reads the configuration and exchanges what can be exchanged. A refusal with the
// text of known is not reported again. s.reloading is held.
func (s *Server) load(known string) {
	s.loaded = stampOf(s.settings.Files()) // before they are read
	digest := fileDigest(s.settings.File())
	next, err := s.c.Load()
	if err == nil {
		err = s.exchange(next)
	}
	if err == nil {
		s.reloads.total.WithLabelValues("ok").Inc()
		s.conditions.Clear(conditions.ConfigRefused, "")
		s.reloads.recordLoaded(digest)
		return
	}
	if err.Error() == known {
		return
	}
	s.reloads.total.WithLabelValues("failed").Inc()
	s.conditions.Set(conditions.ConfigRefused, "", strings.ReplaceAll(err.Error(), "\n", "; "))
	s.reloads.recordRefused(err, digest) // after the condition: a digest that is shown has its outcome beside it
	s.log.Error("configuration was not reloaded: the old one stays", "error", err)
}

func (s *Server) exchange(next *config.Config) error {
	if !s.started { // of the settings, only the ops listener is in use yet
		secure, err := newSecure(next, s.log)
		if err != nil {
			return err
		}
		s.secure, s.settings, s.loaded = secure, next, stampOf(next.Files())
		s.log.Info("configuration reloaded before the start has ended")
		return nil
	}
	changed, restart := config.Diff(s.settings, next)
	p, err := s.policies.build(next)
	if err != nil {
		return err
	}
	sealing, err := next.SealingKeys()
	if err != nil {
		return err
	}
	if err := s.check.SetPolicy(p.authorizer, p.encoder); err != nil {
		return err
	}
	s.policies.current.Store(p)
	s.cache.SetSealing(sealing)
	if s.c.Level != nil {
		s.c.Level.Set(LogLevel(next.Log.Level))
	}
	if !slices.Equal(s.settings.Files(), next.Files()) {
		s.loaded = stampOf(next.Files())
	}
	s.settings = next
	select {
	case s.exchanged <- struct{}{}:
	default:
	}
	if len(changed) == 0 {
		s.log.Info("configuration reloaded: nothing changed")
	} else {
		s.log.Info("configuration reloaded", "changed", changed)
	}
	if len(restart) > 0 {
		s.log.Warn("some settings need a restart", "settings", restart)
	}
	return nil
}

// LogLevel parses a configured level. config.Load has refused all others.
func LogLevel(name string) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return slog.LevelInfo
	}
	return level
}
