package adminapi

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
	"extauthz/cmd/extauthz/internal/duration"
)

// Administrator is an administrator as the API and the command line show it.
type Administrator struct {
	ID           string             `json:"id"`
	Key          string             `json:"key,omitempty" doc:"A new key of the administrator: in the answers to creation and rotation only."`
	Name         string             `json:"name"`
	Description  string             `json:"description,omitempty"`
	Roles        []string           `json:"roles" doc:"Management roles."`
	Permissions  []string           `json:"permissions" doc:"What the roles permit."`
	Grants       Grants             `json:"grants"`
	AllowedCIDRs []string           `json:"allowed_cidrs,omitempty"`
	Status       string             `json:"status" enum:"active,disabled,expired,unreadable"`
	Unreadable   string             `json:"unreadable,omitempty" doc:"What is wrong with the administrator's row in the database. It may do nothing until the row is fixed."`
	ExpiresAt    *time.Time         `json:"expires_at"`
	Keys         []AdministratorKey `json:"keys" doc:"That work, or end with a grace; newest first."`
	CreatedBy    string             `json:"created_by" doc:"The administrator that made it, by id; or bootstrap, migration or admin recover."`
	CreatedAt    time.Time          `json:"created_at"`
	UpdatedAt    time.Time          `json:"updated_at"`
	Version      uint64             `json:"version"`
}

// AdministratorKey is one key of an administrator.
type AdministratorKey struct {
	ID        string     `json:"id"`
	Prefix    string     `json:"prefix"`
	Status    string     `json:"status"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// NewAdministrator asks for an administrator.
type NewAdministrator struct {
	Name         string     `json:"name" doc:"Unique. Lower-case letters, digits, '.', '_', '@', '+' and '-'."`
	Description  string     `json:"description,omitempty"`
	Roles        []string   `json:"roles" doc:"Management roles: owner, manager, support, auditor, issuer, or own ones."`
	Grants       *Grants    `json:"grants,omitempty"`
	AllowedCIDRs []string   `json:"allowed_cidrs,omitempty"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`
	ExpiresIn    string     `json:"expires_in,omitempty" doc:"Instead of expires_at: a duration such as 12h or 30d."`
}

// AdministratorPatch changes an administrator; what is absent stays as it is.
type AdministratorPatch struct {
	Name         *string   `json:"name,omitempty"`
	Description  *string   `json:"description,omitempty"`
	Roles        *[]string `json:"roles,omitempty"`
	Grants       *Grants   `json:"grants,omitempty"`
	AllowedCIDRs *[]string `json:"allowed_cidrs,omitempty"`
	ExpiresAt    *string   `json:"expires_at,omitempty" doc:"RFC 3339, a duration from now on such as 30d, or never."`
}

// AdministratorRotation asks for a new key of an administrator.
type AdministratorRotation struct {
	Grace string `json:"grace,omitempty" doc:"How long the present key stays valid, such as 24h or 7d; 0s ends it at once."`
}

// Caller is who calls.
type Caller struct {
	AdministratorID string   `json:"administrator_id"`
	Name            string   `json:"name"`
	KeyID           string   `json:"key_id"`
	Permissions     []string `json:"permissions"`
	Grants          Grants   `json:"grants"`
}

func grantsOf(g authz.Grants) Grants {
	return Grants{Scopes: g.Scopes.Strings(), Projects: append([]string{}, g.Projects...), Users: g.Users}
}

func administratorOf(m *administrators.Made, now time.Time) Administrator {
	x := &m.Administrator
	a := Administrator{ID: x.ID, Key: m.Key.Reveal(), Name: x.Name, Description: x.Description, Roles: append([]string{}, x.Roles...),
		Permissions: m.Permissions.Strings(), Grants: grantsOf(x.Grants), Status: x.Status(now).String(), Unreadable: x.Unreadable,
		ExpiresAt: instant(x.ExpiresAt), Keys: []AdministratorKey{}, CreatedBy: x.CreatedBy, CreatedAt: x.CreatedAt, UpdatedAt: x.UpdatedAt, Version: x.Version}
	for _, n := range x.Networks {
		a.AllowedCIDRs = append(a.AllowedCIDRs, n.String())
	}
	if x.Unreadable != "" {
		a.Status = "unreadable"
	}
	for i := range m.Keys {
		rec := &m.Keys[i]
		if s := rec.Status(now); s == authz.StatusActive || s == authz.StatusDisabled {
			a.Keys = append(a.Keys, AdministratorKey{rec.ID, rec.Prefix, s.String(), rec.CreatedAt, instant(rec.ExpiresAt)})
		}
	}
	return a
}

type administratorAnswer struct {
	ETag string `header:"ETag"`
	Body Administrator
}

func (a *api) answerAdministrator(m administrators.Made, err error) (*administratorAnswer, error) {
	if err != nil {
		return nil, err
	}
	return &administratorAnswer{ETag: etag(m.Administrator.Version), Body: administratorOf(&m, a.cache.Now())}, nil
}

type administratorsAnswer struct{ Body Page[Administrator] }

type callerAnswer struct{ Body Caller }

// AdministratorRef names an administrator.
type AdministratorRef struct {
	ID string `path:"administrator" doc:"An administrator's id or name."`
}

type newAdministratorInput struct{ Body NewAdministrator }

type administratorPatchInput struct {
	AdministratorRef
	IfMatch string `header:"If-Match" doc:"The ETag that was read; another version is 412."`
	Body    AdministratorPatch
}

type administratorRemoval struct {
	AdministratorRef
	IfMatch string `header:"If-Match" doc:"The ETag that was read; another version is 412."`
	Reason  string `query:"reason" doc:"For the audit."`
}

type administratorRotationInput struct {
	AdministratorRef
	IfMatch string                 `header:"If-Match" doc:"The ETag that was read; another version is 412."`
	Body    *AdministratorRotation `required:"false"`
}

type administratorKeyInput struct {
	AdministratorRef
	KeyID string `path:"key" doc:"A key's id or prefix."`
}

type administratorListInput struct {
	Paging
	CreatedBy string `query:"created_by" doc:"Only those that this administrator made, by its id."`
}

const (
	administratorsPath = "/v1/administrators"
	administratorPath  = administratorsPath + "/{administrator}"
)

func (a *api) registerAdministrators(h huma.API) {
	register(a, h, http.MethodGet, "/v1/caller", operation{tagAdministrators, "", "get-caller", "Show who the caller is, and what it may do", 0, nil},
		func(_ context.Context, p keyring.Principal, _ *struct{}) (*callerAnswer, error) {
			return &callerAnswer{Caller{p.AdministratorID, p.Name, p.KeyID, p.Permissions.Strings(), grantsOf(p.Grants)}}, nil
		})
	register(a, h, http.MethodPost, administratorsPath, operation{tagAdministrators, keyring.CreateAdministrators, "create-administrator", "Create an administrator; its key is shown only once", http.StatusCreated, []int{409}}, a.createAdministrator)
	register(a, h, http.MethodGet, administratorsPath, operation{tagAdministrators, keyring.ReadAdministrators, "list-administrators", "List administrators by name", 0, nil}, a.listAdministrators)
	register(a, h, http.MethodGet, administratorPath, operation{tagAdministrators, keyring.ReadAdministrators, "get-administrator", "Show an administrator; without a permission, the caller itself", 0, []int{404}},
		func(ctx context.Context, p keyring.Principal, in *AdministratorRef) (*administratorAnswer, error) {
			return a.answerAdministrator(a.administrators.Get(ctx, p, in.ID))
		})
	register(a, h, http.MethodPatch, administratorPath, operation{tagAdministrators, keyring.UpdateAdministrators, "update-administrator", "Change an administrator, at once for all its keys", 0, []int{404, 409, 412}}, a.updateAdministrator)
	register(a, h, http.MethodDelete, administratorPath, operation{tagAdministrators, keyring.RemoveAdministrators, "delete-administrator", "Remove an administrator and revoke its keys; without a permission, the caller itself", http.StatusNoContent, []int{404, 409, 412}},
		func(ctx context.Context, p keyring.Principal, in *administratorRemoval) (*struct{}, error) {
			version, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			return nil, a.administrators.Remove(ctx, p, in.ID, in.Reason, version)
		})
	register(a, h, http.MethodPost, administratorPath+"/enable", operation{tagAdministrators, keyring.UpdateAdministrators, "enable-administrator", "Enable an administrator", 0, []int{404, 409}},
		func(ctx context.Context, p keyring.Principal, in *AdministratorRef) (*administratorAnswer, error) {
			return a.answerAdministrator(a.administrators.Enable(ctx, p, in.ID))
		})
	register(a, h, http.MethodPost, administratorPath+"/disable", operation{tagAdministrators, keyring.UpdateAdministrators, "disable-administrator", "Disable an administrator and its keys; without a permission, the caller itself", 0, []int{404, 409}},
		func(ctx context.Context, p keyring.Principal, in *AdministratorRef) (*administratorAnswer, error) {
			return a.answerAdministrator(a.administrators.Disable(ctx, p, in.ID))
		})
	register(a, h, http.MethodPost, administratorPath+"/rotate", operation{tagAdministrators, keyring.RotateAdministrators, "rotate-administrator", "Replace an administrator's key; it is shown only once. Without a permission, the caller's own", http.StatusCreated, []int{404, 409, 412}}, a.rotateAdministrator)
	register(a, h, http.MethodDelete, administratorPath+"/keys/{key}", operation{tagAdministrators, keyring.UpdateAdministrators, "end-administrator-key", "End one key of an administrator, such as the old one before its grace is over; without a permission, the caller's own", 0, []int{404, 409}},
		func(ctx context.Context, p keyring.Principal, in *administratorKeyInput) (*administratorAnswer, error) {
			return a.answerAdministrator(a.administrators.EndKey(ctx, p, in.ID, in.KeyID))
		})
}

func (a *api) createAdministrator(ctx context.Context, p keyring.Principal, in *newAdministratorInput) (*administratorAnswer, error) {
	var f fields
	b := in.Body
	r := administrators.CreateRequest{Name: b.Name, Description: b.Description, Roles: b.Roles, Grants: b.Grants.domain(&f), Networks: networks(&f, b.AllowedCIDRs)}
	switch {
	case b.ExpiresIn != "" && b.ExpiresAt != nil:
		f.add("expires_in", "write expires_in or expires_at, not both")
	case b.ExpiresIn != "":
		if d := parse(&f, "expires_in", b.ExpiresIn, duration.Positive); d > 0 {
			r.ExpiresAt = a.cache.Now().Add(d)
		}
	case b.ExpiresAt != nil:
		r.ExpiresAt = *b.ExpiresAt
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return a.answerAdministrator(a.administrators.Create(ctx, p, r))
}

func (a *api) listAdministrators(ctx context.Context, p keyring.Principal, in *administratorListInput) (*administratorsAnswer, error) {
	after, err := in.after(administratorCursor)
	if err != nil {
		return nil, err
	}
	page, err := a.administrators.List(ctx, p, in.CreatedBy, after, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &administratorsAnswer{Body: Page[Administrator]{Items: make([]Administrator, len(page))}}
	now := a.cache.Now()
	for i := range page {
		out.Body.Items[i] = administratorOf(&page[i], now)
	}
	if len(page) == in.Limit {
		out.Body.NextCursor = cursorOf(administratorCursor, page[len(page)-1].Administrator.Name)
	}
	return out, nil
}

func (a *api) updateAdministrator(ctx context.Context, p keyring.Principal, in *administratorPatchInput) (*administratorAnswer, error) {
	version, err := ifMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	var f fields
	b := in.Body
	patch := administrators.Patch{Name: b.Name, Description: b.Description, Roles: b.Roles, IfVersion: version}
	if b.Grants != nil {
		grants := b.Grants.domain(&f)
		patch.Grants = &grants
	}
	if b.AllowedCIDRs != nil {
		n := append([]netip.Prefix{}, networks(&f, *b.AllowedCIDRs)...)
		patch.Networks = &n
	}
	patch.ExpiresAt = a.timeOrNever(&f, "expires_at", b.ExpiresAt)
	if err := f.err(); err != nil {
		return nil, err
	}
	return a.answerAdministrator(a.administrators.Update(ctx, p, in.ID, patch))
}

func (a *api) rotateAdministrator(ctx context.Context, p keyring.Principal, in *administratorRotationInput) (*administratorAnswer, error) {
	version, err := ifMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	o := administrators.RotateOptions{IfVersion: version}
	if in.Body != nil && in.Body.Grace != "" {
		var f fields
		grace := parse(&f, "grace", in.Body.Grace, duration.Parse)
		if err := f.err(); err != nil {
			return nil, err
		}
		o.Grace = &grace
	}
	return a.answerAdministrator(a.administrators.Rotate(ctx, p, in.ID, o))
}
