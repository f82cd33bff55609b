package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"extauthz/authz"
	"extauthz/authz/keyring"
	"extauthz/cachesvc"
	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/models"
)

const maxBody = 1 << 20 // bytes

// Cache is what the API shows and does of the cached validator.
type Cache interface {
	Stats() cachesvc.Stats
	Replicas(ctx context.Context) []cachesvc.ReplicaStats
	Look(ctx context.Context) []cachesvc.Finding
	Warm(ctx context.Context, limit int) (cachesvc.Warmed, error)
	Status() cachesvc.Status
	Invalidate(ctx context.Context, t cachesvc.Target, by, why string) (int, error)
	Invalidations(limit int) []cachesvc.Invalidation
	Now() time.Time
}

var _ Cache = (*cachesvc.Service)(nil)

// Config is what the API is made of.
type Config struct {
	Keys       *keyring.Service
	Authorizer func() *authz.Authorizer // the current one
	Cache      Cache
	Conditions func() []conditions.Condition // that are active
	Logger     *slog.Logger
	Version    string
}

type api struct {
	keys       *keyring.Service
	authorizer func() *authz.Authorizer
	cache      Cache
	conditions func() []conditions.Condition
	log        *slog.Logger
}

// New returns the handler of the management listener.
func New(c Config) (http.Handler, error) {
	if c.Keys == nil || c.Authorizer == nil || c.Cache == nil || c.Conditions == nil || c.Logger == nil {
		return nil, errors.New("management API: keys service, authorizer, cache, conditions and logger are needed")
	}
	a := &api{keys: c.Keys, authorizer: c.Authorizer, cache: c.Cache, conditions: c.Conditions, log: c.Logger}
	mux := http.NewServeMux()
	h := huma.DefaultConfig("extauthz management API", c.Version)
	h.DocsPath = ""     // huma's page loads its program from elsewhere
	h.CreateHooks = nil // no $schema links in answers
	h.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer"}}
	h.Security = []map[string][]string{{"key": {}}}
	humaAPI := humago.New(mux, h)
	a.registerKeys(humaAPI)
	a.registerRoles(humaAPI)
	a.registerOperations(humaAPI)
	a.registerPurge(humaAPI)
	a.registerExplain(humaAPI)
	return a.guard(mux), nil
}

// register adds an operation whose errors go through problem.
func register[I, O any](a *api, h huma.API, method, path, id, summary string, status int, do func(context.Context, keyring.Principal, *I) (*O, error)) {
	huma.Register(h, huma.Operation{Method: method, Path: path, OperationID: id, Summary: summary, DefaultStatus: status, MaxBodyBytes: maxBody},
		func(ctx context.Context, in *I) (*O, error) {
			p, ok := ctx.Value(principalKey{}).(keyring.Principal)
			if !ok {
				return nil, huma.Error401Unauthorized("an API key is needed")
			}
			out, err := do(ctx, p, in)
			return out, a.problem(err)
		})
}

// WarmTime is how long the answer to a warming may take; everything else has the
// server's own limit.
const WarmTime = 15 * time.Minute

const warmPath = "/v1/cache/warm"

type principalKey struct{}

// guard proves the caller before anything under /v1 is reached, and keeps
// answers out of caches.
func (a *api) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.URL.Path != "/v1" && !strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(w, r)
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || len(r.Header.Values("Authorization")) != 1 {
			refuse(w, authz.ReasonMissing, "Send an administrator's key as Authorization: Bearer KEY.")
			return
		}
		peer := netip.Addr{}
		if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			peer = ap.Addr().Unmap()
		}
		d, err := a.authorizer().Authenticate(r.Context(), authz.NewSecret(strings.TrimSpace(token)), peer)
		if err != nil {
			a.log.Error("administrator could not be proved", "error", err)
			f, _ := models.FaultOf(err)
			writeProblem(w, http.StatusServiceUnavailable, "unavailable", "Service unavailable", "The key could not be looked up: "+f.String()+".")
			return
		}
		if !d.Allowed {
			refuse(w, d.Reason, d.Reason.Detail())
			return
		}
		id := r.Header.Get("X-Request-Id")
		if id == "" || len(id) > 128 {
			id = uuid.NewString()
		}
		if r.URL.Path == warmPath {
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(WarmTime)); err != nil {
				a.log.Warn("a long warming will be cut off", "error", err)
			}
		}
		if !readable(r.URL) {
			writeProblem(w, http.StatusBadRequest, "bad_request", "Bad Request", "The path or a parameter is not UTF-8, or holds a NUL byte.")
			return
		}
		p := keyring.Principal{KeyID: d.Record.ID, Name: d.Record.Name, Scopes: d.Scopes, Grants: d.Record.Grants, Source: peer.String(), RequestID: id}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, p)))
	})
}

// readable tells whether a database can be asked for what an address names.
func readable(u *url.URL) bool {
	query, err := url.QueryUnescape(u.RawQuery)
	return err == nil && utf8.ValidString(query+u.Path) && !strings.ContainsRune(query+u.Path, 0)
}

func refuse(w http.ResponseWriter, reason authz.Reason, detail string) {
	if reason.Status() == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="extauthz"`)
	}
	writeProblem(w, reason.Status(), reason.Code(), reason.Title(), detail)
}

func writeProblem(w http.ResponseWriter, status int, code, title, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": title, "status": status, "detail": detail, "code": code})
}
