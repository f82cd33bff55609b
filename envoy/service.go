package envoy

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"extauthz/authz"
)

// The deadline of one check: the caller's less a margin to answer in, at most
// DefaultTimeout.
const (
	DefaultTimeout = 150 * time.Millisecond
	callerMargin   = 20 * time.Millisecond
)

// Checker decides about requests; *authz.Authorizer does.
type Checker interface {
	Check(ctx context.Context, r *authz.Request) (authz.Decision, error)
}

// Config is what a Service is made of.
type Config struct {
	Checker    Checker
	Encoder    EncoderConfig
	Timeout    time.Duration // 0: DefaultTimeout
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Tracer makes a span of each check, below the one that Propagator finds in
	// what the gateway sends; both nil: no spans, at no cost.
	Tracer     trace.Tracer
	Propagator propagation.TextMapPropagator
}

// policy is what a reload exchanges, as one: a check sees the old or the new.
type policy struct {
	checker Checker
	encoder *encoder
	sample  float64 // of allowed checks, for the log
}

// Service answers Envoy's Check. It is safe for concurrent use.
type Service struct {
	authv3.UnimplementedAuthorizationServer
	policy   atomic.Pointer[policy]
	timeout  time.Duration
	log      *slog.Logger
	decision decisionLog
	spans    *spans                  // nil: none
	decided  [256]prometheus.Counter // by reason, bound beforehand
	shadowed [256]prometheus.Counter // by the reason that a trial softened
	failed   prometheus.Counter
	duration prometheus.Histogram
}

var _ authv3.AuthorizationServer = (*Service)(nil)

// New reports every problem of the configuration at once.
func New(c Config) (*Service, error) {
	if c.Logger == nil || c.Registerer == nil {
		return nil, errors.New("envoy: a logger and a metrics registerer are needed")
	}
	s := &Service{timeout: c.Timeout, log: c.Logger, decision: decisionLog{log: c.Logger}}
	if s.timeout == 0 {
		s.timeout = DefaultTimeout
	}
	if (c.Tracer == nil) != (c.Propagator == nil) {
		return nil, errors.New("envoy: a tracer needs a propagator, and the other way round")
	}
	if c.Tracer != nil {
		s.spans = &spans{c.Tracer, c.Propagator}
	}
	if err := s.SetPolicy(c.Checker, c.Encoder); err != nil {
		return nil, err
	}
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "extauthz_decisions_total",
		Help: "Checks answered, by decision (allow, deny, shadow: would be denied, error) and reason."}, []string{"decision", "reason"})
	s.duration = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "extauthz_check_duration_seconds",
		Help: "Time spent on a check inside the service.",
		// From what a cache hit takes to just over the deadline.
		Buckets: []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 200e-3}})
	for _, m := range []prometheus.Collector{decisions, s.duration} {
		if err := c.Registerer.Register(m); err != nil {
			return nil, err
		}
	}
	for _, r := range authz.Reasons() {
		word := "deny"
		if r == authz.ReasonGranted || r == authz.ReasonAnonymous {
			word = "allow"
		}
		s.decided[r] = decisions.WithLabelValues(word, r.String())
		s.shadowed[r] = decisions.WithLabelValues("shadow", r.String())
	}
	s.failed = decisions.WithLabelValues("error", "undecided")
	return s, nil
}

// SetPolicy exchanges what decides and how it is told. An error changes nothing.
func (s *Service) SetPolicy(checker Checker, c EncoderConfig) error {
	if checker == nil {
		return errors.New("envoy: a checker is needed")
	}
	e, err := newEncoder(c)
	if err != nil {
		return err
	}
	s.policy.Store(&policy{checker, e, c.SampleAllowed})
	return nil
}

// Check answers one request. Its error is UNAVAILABLE, and only where nobody
// could decide; nothing that a client sends causes one.
func (s *Service) Check(ctx context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if s.spans == nil {
		return s.check(ctx, req)
	}
	ctx, span := s.spans.rpc(ctx)
	res, err := s.check(ctx, req)
	s.spans.rpcDone(span, status.Code(err))
	return res, err
}

func (s *Service) check(ctx context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return s.answer(ctx, s.policy.Load(), func() (*authz.Request, bool) { return decode(req), true })
}

// answer decides about the request that read brings, whichever way it came. read
// is false where the gateway did not say what is asked for; that is a denial.
func (s *Service) answer(ctx context.Context, p *policy, read func() (*authz.Request, bool)) (res *authv3.CheckResponse, err error) {
	start, r := time.Now(), (*authz.Request)(nil)
	defer func() {
		if recover() != nil { // a bug of ours: never an open door, never a dead process
			s.log.ErrorContext(ctx, "check panicked", "stack", string(debug.Stack()))
			s.spans.undecided(ctx)
			res, err = s.undecided(p.encoder, r)
		}
		s.duration.Observe(time.Since(start).Seconds())
	}()
	timeout := s.timeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)-callerMargin)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	d, forwarded := authz.Decision{Reason: authz.ReasonForwarding}, false
	if r, forwarded = read(); forwarded {
		if d, err = p.checker.Check(ctx, r); err != nil {
			s.decision.undecided(ctx, err, r)
			s.spans.undecided(ctx)
			return s.undecided(p.encoder, r)
		}
	}
	if d.Shadow != authz.ReasonUnspecified {
		s.shadowed[d.Shadow].Inc()
	} else {
		s.decided[d.Reason].Inc()
	}
	s.decision.decided(ctx, p.sample, &d, r)
	s.spans.decided(ctx, &d, r)
	return p.encoder.encode(&d, r), nil
}

// undecided answers by the operator's choice where nobody could decide; r may be
// nil.
func (s *Service) undecided(e *encoder, r *authz.Request) (*authv3.CheckResponse, error) {
	s.failed.Inc()
	if r == nil {
		r = &authz.Request{}
	}
	res := &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.Unavailable)}}
	switch e.config.OnError {
	case OnErrorDeny:
		res.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: e.undecided(r)}
	case OnErrorResponse:
		res.HttpResponse = &authv3.CheckResponse_ErrorResponse{ErrorResponse: e.undecided(r)}
	default:
		return nil, status.Error(codes.Unavailable, "no decision could be made: a store does not answer")
	}
	return res, nil
}
