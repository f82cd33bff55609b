package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/telemetry"
	"extauthz/envoy"
)

// tracesFlushTime is how long waiting spans may take to be sent when the service stops.
const tracesFlushTime = 2 * time.Second

// openTraces begins to send traces if an endpoint is configured.
func (s *Server) openTraces(ctx context.Context, r prometheus.Registerer) (err error) {
	endpoint := s.settings.Telemetry.OTLPEndpoint
	if endpoint == "" {
		return nil
	}
	s.traces, err = telemetry.New(ctx, telemetry.Config{Endpoint: endpoint, Version: s.c.Version, Logger: s.log, Registerer: r})
	return err
}

// withTraces adds to c what is needed to make spans. Without traces it returns c
// unchanged.
func (s *Server) withTraces(c envoy.Config) envoy.Config {
	if s.traces != nil {
		c.Tracer, c.Propagator = s.traces.Tracer(), s.traces.Propagator()
	}
	return c
}

// validator returns the cache, wrapped only if its look-ups are traced.
func (s *Server) validator() authz.Validator {
	if s.traces == nil {
		return s.cache
	}
	return telemetry.Lookups(s.cache, s.traces.Tracer())
}

// closeTraces sends the waiting spans. If the collector does not accept them, that is no
// failure of the service.
func (s *Server) closeTraces(ctx context.Context) {
	if s.traces == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesFlushTime)
	defer cancel()
	if err := s.traces.Shutdown(ctx); err != nil {
		s.log.Warn("the last traces were not delivered", "error", err)
	}
}
