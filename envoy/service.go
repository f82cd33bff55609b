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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"extauthz/authz"
)

// Checker decides about requests; *authz.Authorizer implements it. It sets its own time
// limit, within that of ctx.
type Checker interface {
	Check(ctx context.Context, r *authz.Request) (authz.Decision, error)
	// Headers returns the lower-case names of the headers that decisions depend on.
	Headers() []string
	// HeaderHolds reports whether a header's value holds a whole key. A Request must
	// include such a header, whatever its name is.
	HeaderHolds(value string) bool
}

// Config configures a Service.
type Config struct {
	Checker    Checker
	Encoder    EncoderConfig
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Tracer makes a span for each check. Its parent is the span that Propagator finds in
	// what the gateway sends. If both are nil, there are no spans, at no cost.
	Tracer     trace.Tracer
	Propagator propagation.TextMapPropagator
}

// policy is everything that a reload exchanges. It is exchanged as a whole, so a check
// sees either the old one or the new one.
type policy struct {
	checker Checker
	encoder *encoder
	headers headerSet // the headers to read from a request's bytes
	sample  float64   // share of allowed checks that is logged
}

// Service answers Envoy's Check. It is safe for concurrent use.
type Service struct {
	authv3.UnimplementedAuthorizationServer
	policy   atomic.Pointer[policy]
	log      *slog.Logger
	decision decisionLog
	spans    *spans                  // nil: none
	decided  [256]prometheus.Counter // by reason; made in advance
	shadowed [256]prometheus.Counter // by the reason that shadow mode softened
	failed   prometheus.Counter
	duration prometheus.Histogram
}

var _ authv3.AuthorizationServer = (*Service)(nil)

// New makes a Service. It reports every problem of the encoder's configuration at once.
func New(c Config) (*Service, error) {
	if c.Logger == nil || c.Registerer == nil {
		return nil, errors.New("envoy: a logger and a metrics registerer are needed")
	}
	s := &Service{log: c.Logger, decision: decisionLog{log: c.Logger}}
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
		Help: "Checks answered, by decision (allow, deny, shadow: allowed in shadow mode, error) and reason."}, []string{"decision", "reason"})
	s.duration = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "extauthz_check_duration_seconds",
		Help: "Time spent on a check inside the service.",
		// From the time of a cache hit to just over the deadline.
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

// SetPolicy exchanges the checker, and how its decisions are answered. If it returns an
// error, nothing has changed.
func (s *Service) SetPolicy(checker Checker, c EncoderConfig) error {
	if checker == nil {
		return errors.New("envoy: a checker is needed")
	}
	e, err := newEncoder(c)
	if err != nil {
		return err
	}
	e.holds = checker.HeaderHolds
	s.policy.Store(&policy{checker, e, newHeaderSet(checker.Headers(), &e.own), c.SampleAllowed})
	return nil
}

// Check answers one request. Its error is UNAVAILABLE, and only where no decision could be
// made; nothing that a client sends causes one.
func (s *Service) Check(ctx context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	c := takeCheck()
	defer c.release()
	c.form, c.message = formMessage, req
	if err := s.handleRPC(ctx, c); err != nil {
		return nil, err
	}
	return c.answer.message(), nil
}

// errUndecided is what Envoy gets instead of an answer, if the operator has chosen that.
var errUndecided = status.Error(codes.Unavailable, "no decision could be made: a store does not answer")

// handleRPC answers a check that came over gRPC, in a span if tracing is on, and leaves
// the answer in c. Its error is the error of the call.
func (s *Service) handleRPC(ctx context.Context, c *check) (err error) {
	var span trace.Span
	if s.spans != nil {
		ctx, span = s.spans.startRPC(ctx)
	}
	p := s.policy.Load()
	if !s.decide(ctx, p, c) && p.encoder.config.OnError == OnErrorUnavailable {
		err = errUndecided
	}
	if s.spans != nil {
		s.spans.endRPC(span, status.Code(err))
	}
	return err
}

// decide does all steps of the check c: it reads and judges the request, counts and logs
// the decision, and encodes the answer. It returns false if no decision could be made.
func (s *Service) decide(ctx context.Context, p *policy, c *check) (decided bool) {
	start := time.Now()
	defer func() {
		if recover() != nil { // a bug here must neither allow a request nor end the process
			s.log.ErrorContext(ctx, "check panicked", "stack", string(debug.Stack()))
			s.answerUndecided(ctx, p, c)
			decided = false
		}
		s.duration.Observe(time.Since(start).Seconds())
	}()
	d, err := s.judge(ctx, p, c)
	if err != nil {
		s.decision.logUndecided(ctx, err, &c.request)
		s.answerUndecided(ctx, p, c)
		return false
	}
	s.report(ctx, p, &d, &c.request)
	p.encoder.encode(&c.answer, &d, &c.request)
	return true
}

// judge reads the request, and lets the checker decide about it. A request that can't be
// judged in the form in which the gateway forwarded it is denied.
func (s *Service) judge(ctx context.Context, p *policy, c *check) (authz.Decision, error) {
	if !c.read(ctx, p) {
		return authz.Decision{Reason: authz.ReasonForwarding}, nil
	}
	if p.encoder.unremovable(&c.request) {
		s.decision.logMisforwarded(ctx, "upstreams may take a header for one of this service's, and no gateway could remove it by its name", "")
		return authz.Decision{Reason: authz.ReasonForwarding}, nil
	}
	return p.checker.Check(ctx, &c.request)
}

// report counts a decision, and shows it in the log and in the trace.
func (s *Service) report(ctx context.Context, p *policy, d *authz.Decision, r *authz.Request) {
	if d.Shadow != authz.ReasonUnspecified {
		s.shadowed[d.Shadow].Inc()
	} else {
		s.decided[d.Reason].Inc()
	}
	s.decision.logDecision(ctx, p.sample, d, r)
	s.spans.recordDecision(ctx, d, r)
}

// answerUndecided makes the answer that the operator has chosen for checks without a
// decision.
func (s *Service) answerUndecided(ctx context.Context, p *policy, c *check) {
	s.failed.Inc()
	s.spans.recordUndecided(ctx)
	p.encoder.encodeUndecided(&c.answer, &c.request)
}
