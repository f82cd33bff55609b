package adminapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
	"extauthz/cachesvc"
	"extauthz/cmd/extauthz/internal/conditions"
)

const maxBody = 1 << 20 // bytes

// Cache is the part of the cached validator that the API uses.
type Cache interface {
	Stats() cachesvc.Stats
	Replicas(ctx context.Context) []cachesvc.ReplicaStats
	RunMonitors(ctx context.Context) []cachesvc.Finding
	Warm(ctx context.Context, limit int) (cachesvc.Warmed, error)
	Status() cachesvc.Status
	Invalidate(ctx context.Context, t cachesvc.Target, by, why string) (int, error)
	Invalidations(limit int) []cachesvc.Invalidation
	Now() time.Time
}

var _ Cache = (*cachesvc.Service)(nil)

// Config holds what the API needs; all of it is required except Version.
type Config struct {
	Keys           *keyring.Service
	Administrators *administrators.Service
	Authorizer     func() *authz.Authorizer // returns the current one
	Cache          Cache
	Conditions     func() []conditions.Condition // returns those that are active
	Logger         *slog.Logger
	Version        string
}

type api struct {
	keys           *keyring.Service
	administrators *administrators.Service
	authorizer     func() *authz.Authorizer
	cache          Cache
	conditions     func() []conditions.Condition
	log            *slog.Logger
}

// New returns the handler of the management listener.
func New(c Config) (http.Handler, error) {
	if c.Keys == nil || c.Administrators == nil || c.Authorizer == nil || c.Cache == nil || c.Conditions == nil || c.Logger == nil {
		return nil, errors.New("management API: keys service, administrators, authorizer, cache, conditions and logger are needed")
	}
	a := &api{keys: c.Keys, administrators: c.Administrators, authorizer: c.Authorizer, cache: c.Cache, conditions: c.Conditions, log: c.Logger}
	strictNames()
	mux := http.NewServeMux()
	humaAPI := humago.New(mux, a.description(c.Version))
	humaAPI.UseMiddleware(strictParameters(humaAPI))
	a.registerKeys(humaAPI)
	a.registerRoles(humaAPI)
	a.registerAdministrators(humaAPI)
	a.registerAdministratorRoles(humaAPI)
	a.registerOperations(humaAPI)
	a.registerPurge(humaAPI)
	a.registerExplain(humaAPI)
	if err := complement(humaAPI.OpenAPI()); err != nil {
		return nil, err
	}
	serveDocument(mux, humaAPI.OpenAPI())
	if err := serveDocs(mux); err != nil {
		return nil, err
	}
	return a.numbered(a.route(mux)), nil
}

// strictNames makes huma match the names of fields exactly, as documented. huma reads
// this from a global variable, so it is set only once.
var strictNames = sync.OnceFunc(func() { huma.ValidateStrictCasing = true })

// operation describes an operation apart from its method and path.
type operation struct {
	tag         string
	needs       keyring.Permission // empty: none
	id, summary string
	status      int   // status of a successful call; 0: 200
	errors      []int // statuses besides those that every operation may answer with
}

// register adds an operation. Its errors are turned into problems by problem.
func register[I, O any](a *api, h huma.API, method, path string, op operation, do func(context.Context, keyring.Principal, *I) (*O, error)) {
	needs := "Needs no permission."
	if op.needs != "" {
		needs = fmt.Sprintf("Needs the permission `%s`.", op.needs)
	}
	huma.Register(h, huma.Operation{Method: method, Path: path, Tags: []string{op.tag}, OperationID: op.id, Summary: op.summary,
		Description: needs, DefaultStatus: op.status,
		MaxBodyBytes: maxBody + 1, Responses: refusals(op.errors)}, // huma refuses even a body of exactly MaxBodyBytes
		func(ctx context.Context, in *I) (*O, error) {
			c := callOf(ctx)
			if c.principal == nil {
				return nil, newProblem(reasonCode(authz.ReasonMissing), authz.ReasonMissing.Detail())
			}
			out, err := do(ctx, *c.principal, in)
			if err != nil {
				return nil, a.problem(err)
			}
			return out, nil
		})
}

// WarmTime is how long the answer to a warming may take. All other answers have the
// server's own limit.
const WarmTime = 15 * time.Minute

const warmPath = "/v1/cache/warm"
