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

// How long an HTTP connection may take. An idle one is kept longer than any
// caller keeps it (Envoy: an hour): the side that ends it first ends a check with it.
const (
	httpReadTimeout = 10 * time.Second
	httpIdleTimeout = 65 * time.Minute
)

const (
	checkPrefix = "/check"
	// removalsHeader lists, in the HTTP flavour, the headers that Envoy has to remove.
	removalsHeader = "x-envoy-auth-headers-to-remove"
)

// HTTPConfig is how the HTTP flavour and forward-auth are set up.
type HTTPConfig struct {
	TLS *tls.Config // nil: plain text
	// TrustedPeers are the networks of the proxies that are answered; none: this
	// machine alone. Every process that can open a Unix socket is trusted.
	TrustedPeers []netip.Prefix
	// MaxHeaderBytes is of a request line with its headers; 0: net/http's.
	MaxHeaderBytes int
}

// NewHTTPServer makes a server that answers Envoy's HTTP flavour under /check and
// forward-auth at /auth/nginx, /auth/nginx-gateway-fabric, /auth/caddy and
// /auth/traefik. The Service decides, counts and logs.
func NewHTTPServer(c HTTPConfig, s *Service) *http.Server {
	return &http.Server{
		// No http.ServeMux: it redirects "//admin", and the raw target is judged.
		Handler:   &httpHandler{service: s, trusted: c.TrustedPeers},
		TLSConfig: c.TLS, MaxHeaderBytes: c.MaxHeaderBytes, ReadTimeout: httpReadTimeout, WriteTimeout: httpReadTimeout, IdleTimeout: httpIdleTimeout,
		// It answers "OPTIONS *" with 200, which allows.
		DisableGeneralOptionsHandler: true,
	}
}

// dialect describes the requests of one kind of caller, and the answers that it
// understands.
type dialect struct {
	// read brings what is asked about, or returns why it can't.
	read func(*authz.Request, *http.Request) error
	// status is a denial's, in what the caller takes for a denial.
	status func(int) int
	// removes: the caller removes request headers that an answer names. Of others,
	// requests are refused that carry names that no client may send on, but for those
	// that an answer overwrites and the caller's own.
	removes bool
	// own lists, in lower case, the headers that the caller itself sets although no
	// client may send them.
	own []string
	// traces: the trace's headers are the caller's own, no client's.
	traces bool
	// blanks: an allowing answer needs every identity header, empty ones too.
	blanks bool
}

// envoyDialect is the HTTP flavour of ext_authz: request line and headers are
// the original's, headers joined and sanitised as in the plain CheckRequest. A
// 5xx is an error to it, which failure_mode_allow lets in, and so no denial.
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

// httpCall is a request over HTTP that a check was forwarded by.
type httpCall struct {
	handler *httpHandler
	caller  *dialect
	request *http.Request
}

// read brings what is asked for into asked, and reports whether the caller forwarded it;
// why it did not is in the log.
func (c *httpCall) read(ctx context.Context, p *policy, asked *authz.Request) bool {
	err := c.handler.read(c.caller, p.encoder, asked, c.request)
	if err == nil {
		return true
	}
	c.handler.service.decision.logMisforwarded(ctx, err.Error(), c.request.RemoteAddr)
	asked.Reset()
	return false
}

// dialectOf returns nil for a path that is no endpoint.
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

// trusts reports whether the peer may send checks. The decision rests on what it
// forwards, so no other peer is trusted as a proxy.
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

// addHeaders brings headers into the authorizer's form.
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
		case h.name == ":path": // there is no way to send another path
		case h.name == "cookie" && !d.removes:
		default:
			out.Set(h.name, strings.Clone(h.value)) // written when a's memory is another check's
		}
	}
	if d.removes && len(a.remove) > 0 {
		out.Set(removalsHeader, strings.Clone(strings.Join(a.remove, ",")))
	}
	w.WriteHeader(http.StatusOK)
}

func (d *dialect) refuse(w http.ResponseWriter, a *answer, status int) {
	out := w.Header()
	out["Content-Type"] = nil // none is guessed for gRPC clients, whose content type stays
	for _, h := range a.headers {
		out.Set(h.name, strings.Clone(h.value))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, a.body) // the caller has left
}
