package server

import (
	"log/slog"

	"extauthz/cmd/extauthz/internal/config"
)

// Reload reads the configuration again and exchanges what can be exchanged, as
// one. A bad file changes nothing. It must not be called twice at once.
func (s *Server) Reload() {
	next, err := s.c.Load()
	if err == nil {
		err = s.exchange(next)
	}
	if err != nil {
		s.reloads.WithLabelValues("failed").Inc()
		s.log.Error("configuration was not reloaded: the old one stays", "error", err)
		return
	}
	s.reloads.WithLabelValues("ok").Inc()
}

func (s *Server) exchange(next *config.Config) error {
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
	s.settings = next
	s.log.Info("configuration reloaded", "changed", changed)
	if len(restart) > 0 {
		s.log.Warn("some settings need a restart", "settings", restart)
	}
	return nil
}

// LogLevel reads a configured level; config.Load refused all others.
func LogLevel(name string) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return slog.LevelInfo
	}
	return level
}
