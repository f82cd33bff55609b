package adminapi

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/models"
)

// route verifies the caller before any request under /v1 is handled. It also answers
// itself where the mux would send a plain text or a redirect.
func (a *api) route(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		if r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/") {
			if p := a.admit(w, r, c); p != nil {
				writeProblem(w, c, p)
				return
			}
			r.Header.Set("Accept", "application/json") // the API has only this form
		}
		if p := a.find(mux, w, r, c); p != nil {
			writeProblem(w, c, p)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// find returns what is wrong with a request's path, method or content type; nil if the
// API serves it.
func (a *api) find(mux *http.ServeMux, w http.ResponseWriter, r *http.Request, c *call) *Problem {
	noPath := newProblem(CodeNoSuchPath, "the API has no such path: /openapi.json lists those that there are")
	escaped := r.URL.EscapedPath()
	if cleaned := path.Clean(escaped); cleaned != escaped && cleaned != strings.TrimSuffix(escaped, "/") {
		return noPath // the mux would answer with a redirect
	}
	handler, pattern := mux.Handler(r)
	if c.pattern = pattern; pattern == "" {
		probe := &probe{header: http.Header{}}
		handler.ServeHTTP(probe, r)
		if probe.status != http.StatusMethodNotAllowed {
			return noPath
		}
		allow := probe.header.Get("Allow")
		w.Header().Set("Allow", allow)
		return newProblem(CodeMethodNotAllowed, "the path takes "+allow)
	}
	if r.ContentLength == 0 || r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete {
		return nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return newProblem(CodeUnsupportedType, "send the body as JSON, with Content-Type: application/json")
	}
	return nil
}

// probe records status and headers of a refusal that the mux itself makes.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

// admit verifies the caller, and stores it in the call.
func (a *api) admit(w http.ResponseWriter, r *http.Request, c *call) *Problem {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return refused(w, authz.ReasonAmbiguous, authz.ReasonAmbiguous.Detail())
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return refused(w, authz.ReasonMissing, "Send an administrator's key as Authorization: Bearer KEY.")
	}
	peer := netip.Addr{}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		peer = ap.Addr().Unmap()
	}
	d, err := a.authorizer().Authenticate(r.Context(), authz.NewSecret(strings.TrimSpace(token)), peer)
	if err != nil {
		a.log.Error("administrator could not be verified", "request_id", c.id, "error", mask(err.Error()))
		f, _ := models.FaultOf(err)
		return newProblem(CodeUnavailable, "The key could not be looked up: "+f.String()+".")
	}
	if !d.Allowed {
		if d.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((d.RetryAfter+time.Second-1)/time.Second)))
		}
		return refused(w, d.Reason, d.Reason.Detail())
	}
	if r.URL.Path == warmPath {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(WarmTime)); err != nil {
			a.log.Warn("a long warming will be cut off", "error", err)
		}
	}
	if !readable(r.URL) {
		return newProblem(CodeBadRequest, "the path or a parameter is not UTF-8, or holds a NUL byte")
	}
	return a.identify(w, r, c, d.Record, peer)
}

// identify stores in the call the administrator that a verified key belongs to.
func (a *api) identify(w http.ResponseWriter, r *http.Request, c *call, key *authz.Record, peer netip.Addr) *Problem {
	p, err := a.administrators.Principal(r.Context(), key, peer)
	var not *administrators.Refused
	switch {
	case errors.As(err, &not):
		return refused(w, not.Reason, not.Reason.Detail())
	case errors.Is(err, administrators.ErrNone), errors.Is(err, authz.ErrUnreadable):
		return newProblem(CodeForbidden, err.Error())
	case err != nil:
		a.log.Error("administrator could not be looked up", "request_id", c.id, "error", mask(err.Error()))
		f, _ := models.FaultOf(err)
		return newProblem(CodeUnavailable, "The administrator could not be looked up: "+f.String()+".")
	}
	p.RequestID = c.id
	c.principal = &p
	return nil
}

// readable reports whether a URL's path and query are texts that a database can store.
func readable(u *url.URL) bool {
	query, err := url.QueryUnescape(u.RawQuery)
	return err == nil && storable(query) && storable(u.Path)
}

func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// refused makes the problem of a caller whose key is not accepted.
func refused(w http.ResponseWriter, reason authz.Reason, detail string) *Problem {
	if reason.Status() == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="extauthz"`)
	}
	p := newProblem(reasonCode(reason), detail)
	p.Status, p.Title = reason.Status(), reason.Title()
	return p
}

func writeProblem(w http.ResponseWriter, c *call, p *Problem) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p.sent(c))
}
