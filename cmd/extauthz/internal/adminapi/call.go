package adminapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"extauthz/authz/keyring"
)

// call is one request from its beginning to its answer.
type call struct {
	id        string             // the client's request id, or one made here
	principal *keyring.Principal // the caller, once the key is verified
	pattern   string             // of the operation; the path itself is not kept, since it names users
	code      Code               // of the problem, if the answer is one
}

type callKey struct{}

// callOf returns the call that a context belongs to; never nil.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

const requestIDHeader = "X-Request-Id"

// requestIDForm matches ids that can be written unchanged into a log line, a header and
// an audit row: UUIDs, trace ids, and other forms that gateways make.
var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._:/+=@-]{1,128}$`)

// requestID returns the client's id if it is well-formed and holds no key, else a new id.
// An id with a key is not taken, because ids are logged, stored and sent back.
func (a *api) requestID(r *http.Request) string {
	ids := r.Header.Values(requestIDHeader)
	if f := a.authorizer().Format; len(ids) == 1 && requestIDForm.MatchString(ids[0]) && !f.Mentions(ids[0]) && !f.Holds(ids[0]) {
		return ids[0]
	}
	return uuid.NewString()
}

// numbered gives every request an id. Every answer has it in a header, and problems, the
// log and the audit contain it. It also logs refusals, and turns a panic into a problem.
func (a *api) numbered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, begin := &call{id: a.requestID(r)}, time.Now()
		w.Header().Set(requestIDHeader, c.id)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		answer := &statusWriter{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if err, is := p.(error); is && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				a.log.Error("management call panicked", "request_id", c.id, "panic", mask(fmt.Sprint(p)), "stack", string(debug.Stack()))
				if answer.status == 0 {
					writeProblem(answer, c, newProblem(CodeInternal, "extauthz failed; its log has details under the request's id"))
				}
			}
			a.logCall(r, c, answer.status, time.Since(begin))
		}()
		next.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
	})
}

// logCall logs refused calls, so that the id of a problem leads to its reason. Successful
// changes are in the audit, so successful calls are logged at level DEBUG only.
func (a *api) logCall(r *http.Request, c *call, status int, took time.Duration) {
	level, message := slog.LevelDebug, "management call answered"
	if c.code != "" {
		level, message = slog.LevelInfo, "management call refused"
	}
	attributes := []any{"request_id", c.id, "method", mask(r.Method), "operation", c.pattern, "status", status, "took", took.Round(time.Microsecond).String()}
	if c.code != "" {
		attributes = append(attributes, "code", string(c.code))
	}
	if c.principal != nil {
		attributes = append(attributes, "caller", c.principal.Name, "caller_key", c.principal.KeyID)
	}
	a.log.Log(r.Context(), level, message, attributes...)
}

// statusWriter records whether an answer has begun, and with which status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap gives [http.ResponseController] access to the connection's deadlines.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
