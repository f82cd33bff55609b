package envoy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"extauthz/authz"
)

// Time limits of an HTTP connection. An idle connection is kept longer than any caller
// keeps it (Envoy: an hour): if this side closed it first, a check that is on its way
// would be lost.
const (
	httpReadTimeout = 10 * time.Second
	httpIdleTimeout = 65 * time.Minute
)

const (
	checkPrefix = "/check"
	// removalsHeader lists, in the HTTP flavour, the headers that Envoy has to remove.
	removalsHeader = "x-envoy-auth-headers-to-remove"
)

// HTTPConfig configures the HTTP flavour and forward-auth.
type HTTPConfig struct {
	TLS *tls.Config // nil: plain text
	// TrustedPeers are the networks of the proxies whose checks are answered. If there
	// are none, only this machine is trusted. Every process that can open a Unix socket
	// is trusted.
	TrustedPeers []netip.Prefix
	// MaxHeaderBytes bounds a request line with its headers; 0: net/http's default.
	MaxHeaderBytes int
}

// NewHTTPServer makes a server that answers Envoy's HTTP flavour under /check and
// forward-auth at /auth/nginx, /auth/nginx-gateway-fabric, /auth/caddy and
// /auth/traefik. The Service decides, counts and logs.
func NewHTTPServer(c HTTPConfig, s *Service) *http.Server {
	return &http.Server{
		// No http.ServeMux: it would redirect "//admin", but the raw target has to be
		// judged.
		Handler:   &httpHandler{service: s, trusted: c.TrustedPeers},
		TLSConfig: c.TLS, MaxHeaderBytes: c.MaxHeaderBytes, ReadTimeout: httpReadTimeout, WriteTimeout: httpReadTimeout, IdleTimeout: httpIdleTimeout,
		// That handler would answer "OPTIONS *" with 200, which allows the request.
		DisableGeneralOptionsHandler: true,
	}
}

// dialect describes the requests of one kind of caller, and the answers that it
// understands.
type dialect struct {
	// read reads the forwarded request, or returns why it can't.
	read func(*authz.Request, *http.Request) error
	// status converts a denial's status to one that the caller treats as a denial.
	status func(int) int
	// removes: the caller removes request headers that an answer names. From any other
	// caller, a request is refused if it has a header that no client may send on, unless
	// an answer overwrites that header or the caller itself sets it.
	removes bool
	// own lists, in lower case, the headers that the caller itself sets although no
	// client may send them.
	own []string
	// traces: the tracing headers are the caller's own, not a client's.
	traces bool
	// blanks: an allowing answer needs every identity header, empty ones too.
	blanks bool
}

// envoyDialect is for the HTTP flavour of ext_authz. Request line and headers are those
// of the original request, with headers joined and sanitised as in the plain
// CheckRequest. Envoy treats a 5xx as an error, on which failure_mode_allow lets the
// request in. So no denial may have one.
var envoyDialect = dialect{removes: true, traces: true,
	status: func(status int) int {
		if status >= 500 {
			return http.StatusForbidden
		}
		return status
	},
	read: func(asked *authz.Request, r *http.Request) error {
		asked.Method, asked.Host = r.Method, r.Host
		asked.Path, asked.PathSanitised, asked.PathFixed = strings.TrimPrefix(r.RequestURI, checkPrefix), true, true
		addHeaders(asked, r.Header, true)
		return nil
	}}

// httpHandler finds the dialect and answers in it.
type httpHandler struct {
	service *Service
	trusted []netip.Prefix
}

func (h *httpHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller := dialectOf(r.RequestURI)
	if caller == nil {
		http.Error(w, "no such endpoint: ask /check, /auth/nginx, /auth/nginx-gateway-fabric, /auth/caddy or /auth/traefik", http.StatusNotFound)
		return
	}
	if h.service.spans == nil || !caller.traces || !h.trusts(r) {
		h.answer(r.Context(), caller, w, r)
		return
	}
	ctx, span := h.service.spans.startHTTP(r)
	h.service.spans.endHTTP(span, h.answer(ctx, caller, w, r))
}

// answer decides, writes the answer, and returns the status.
func (h *httpHandler) answer(ctx context.Context, caller *dialect, w http.ResponseWriter, r *http.Request) (status int) {
	c := takeCheck()
	defer c.release()
	p := h.service.policy.Load()
	c.form, c.call = formHTTP, httpCall{h, caller, r}
	decided := h.service.decide(ctx, p, c)
	switch {
	case !decided && p.encoder.config.OnError != OnErrorDeny:
		status = http.StatusServiceUnavailable
		caller.refuse(w, &c.answer, status)
	case c.answer.allowed():
		status = http.StatusOK
		caller.allow(w, &c.answer, p.encoder)
	default:
		status = caller.status(c.answer.status)
		caller.refuse(w, &c.answer, status)
	}
	return status
}

// httpCall is the HTTP request by which a check was forwarded.
type httpCall struct {
	handler *httpHandler
	caller  *dialect
	request *http.Request
}

// read reads the forwarded request into asked, and reports whether the caller forwarded
// one that can be judged. If not, it logs why.
func (c *httpCall) read(ctx context.Context, p *policy, asked *authz.Request) bool {
	err := c.handler.read(c.caller, p.encoder, asked, c.request)
	if err == nil {
		return true
	}
	c.handler.service.decision.logMisforwarded(ctx, err.Error(), c.request.RemoteAddr)
	asked.Reset()
	return false
}

// dialectOf returns the dialect of the endpoint that the target names, or nil if it names
// none.
func dialectOf(target string) *dialect {
	if strings.HasPrefix(target, checkPrefix) {
		return &envoyDialect
	}
	switch path, _, _ := strings.Cut(target, "?"); path {
	case "/auth/nginx":
		return &nginxDialect
	case "/auth/nginx-gateway-fabric":
		return &gatewayFabricDialect
	case "/auth/caddy":
		return &caddyDialect
	case "/auth/traefik":
		return &traefikDialect
	}
	return nil
}

func (h *httpHandler) read(caller *dialect, e *encoder, asked *authz.Request, r *http.Request) error {
	if !h.trusts(r) {
		return errors.New("the peer is none of http.trusted_peers")
	}
	if err := caller.read(asked, r); err != nil || caller.removes {
		return err
	}
	for _, header := range asked.Headers {
		switch name := header.Name; {
		case slices.Contains(e.names, name) || slices.Contains(caller.own, name):
		case e.own.identity(name):
			return errors.New("a client sent a header under the identity prefix that no answer overwrites: have the proxy remove such headers first")
		case e.own.override(name) != "":
			return fmt.Errorf("a client sent a header that upstreams take for %s, which replaces what is judged: have the proxy remove it first, or name it in headers.keep_overrides", e.own.override(name))
		}
	}
	return nil
}

// trusts reports whether the peer may send checks. A decision depends on what the peer
// forwards, so only configured peers may.
func (h *httpHandler) trusts(r *http.Request) bool {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return true
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr := peer.Addr().WithZone("").Unmap()
	if len(h.trusted) == 0 {
		return addr.IsLoopback()
	}
	return slices.ContainsFunc(h.trusted, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// addHeaders adds headers to asked in the authorizer's form.
func addHeaders(asked *authz.Request, headers http.Header, sanitised bool) {
	for name, lines := range headers {
		name = strings.ToLower(name)
		for _, value := range lines {
			asked.Headers = append(asked.Headers, authz.Header{Name: name, Value: value, Sanitised: sanitised})
		}
	}
}

// allow answers exactly 200, with identity in the response's headers.
func (d *dialect) allow(w http.ResponseWriter, a *answer, e *encoder) {
	out := w.Header()
	if d.blanks {
		for _, name := range e.names {
			out.Set(name, "")
		}
	}
	for _, h := range slices.Concat(a.headers, a.client) {
		switch {
		case h.name == ":path": // such an answer can't change the path
		case h.name == "cookie" && !d.removes:
		default:
			out.Set(h.name, strings.Clone(h.value)) // net/http may write it after a's memory is reused
		}
	}
	if d.removes && len(a.remove) > 0 {
		out.Set(removalsHeader, strings.Clone(strings.Join(a.remove, ",")))
	}
	w.WriteHeader(http.StatusOK)
}

func (d *dialect) refuse(w http.ResponseWriter, a *answer, status int) {
	out := w.Header()
	out["Content-Type"] = nil // keeps net/http from guessing one: gRPC clients get none
	for _, h := range a.headers {
		out.Set(h.name, strings.Clone(h.value))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, a.body) // an error means that the caller has left
}
