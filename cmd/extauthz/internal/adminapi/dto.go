package adminapi

import (
	"encoding/json"
	"net/netip"
	"time"

	"extauthz/authz"
)

// Key is a key as the API and the command line show it. Times are RFC 3339.
type Key struct {
	ID           string            `json:"id"`
	Key          string            `json:"key,omitempty" doc:"The key itself: in the answers to creation and rotation only."`
	Prefix       string            `json:"prefix" doc:"Public; finds the key in lists and logs."`
	UserID       string            `json:"user_id"`
	Name         string            `json:"name"`
	Scopes       []string          `json:"scopes"`
	Roles        []string          `json:"roles"`
	Status       string            `json:"status" enum:"active,disabled,revoked,expired,unreadable"`
	Unreadable   string            `json:"unreadable,omitempty" doc:"What is wrong with the key's row in the database, in lists. Checks refuse the key until the row is fixed."`
	IsActive     bool              `json:"is_active"`
	ExpiresAt    *time.Time        `json:"expires_at"`
	RevokedAt    *time.Time        `json:"revoked_at,omitempty"`
	ShadowUntil  *time.Time        `json:"shadow_until,omitempty" doc:"Until then denials for scope, network and route are only reported, where shadow_scopes cover the request."`
	ShadowEnd    *time.Time        `json:"shadow_end,omitempty" doc:"The end that was given when shadow mode was first set: it can't be set again beyond that."`
	ShadowScopes []string          `json:"shadow_scopes,omitempty" doc:"What the administrator who set shadow mode may grant; it softens nothing else."`
	CreatedAt    time.Time         `json:"created_at"`
	UpdatedAt    time.Time         `json:"updated_at"`
	Environment  string            `json:"environment"`
	Project      string            `json:"project,omitempty"`
	AllowedCIDRs []string          `json:"allowed_cidrs,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Rate         string            `json:"rate,omitempty"`
	Family       string            `json:"family"`
	RotatedFrom  string            `json:"rotated_from,omitempty"`
	Version      uint64            `json:"version"`
	Usage        *Usage            `json:"usage,omitempty"`
	Replayed     bool              `json:"replayed,omitempty" doc:"Created by an earlier call with the same Idempotency-Key; its key was shown then. Rotate it if that answer was lost."`
}

// Grants limits what an administrator may put on keys.
type Grants struct {
	Scopes   []string `json:"scopes"`
	Projects []string `json:"projects" doc:"* stands for all."`
	Users    []string `json:"users,omitempty" doc:"Users for whom it may make keys: ids, or the beginning of ids before a *. None: every user."`
}

// MarshalJSON writes nil lists as empty ones, because the API accepts no null.
func (g Grants) MarshalJSON() ([]byte, error) {
	type plain Grants
	g.Scopes, g.Projects = append([]string{}, g.Scopes...), append([]string{}, g.Projects...)
	return json.Marshal(plain(g))
}

// Usage describes how a key was used.
type Usage struct {
	KeyID      string     `json:"key_id"`
	Count      uint64     `json:"count"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

// NewKey is a request to create a key.
type NewKey struct {
	UserID       string            `json:"user_id"`
	Name         string            `json:"name"`
	Scopes       []string          `json:"scopes,omitempty"`
	Roles        []string          `json:"roles,omitempty"`
	ExpiresAt    *time.Time        `json:"expires_at,omitempty"`
	ExpiresIn    string            `json:"expires_in,omitempty" doc:"Instead of expires_at: a duration such as 12h or 30d."`
	Environment  string            `json:"environment,omitempty"`
	AllowedCIDRs []string          `json:"allowed_cidrs,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Rate         string            `json:"rate,omitempty" doc:"Such as 100/s."`
	Project      string            `json:"project,omitempty"`
}

// KeyPatch is a change of a key. Absent fields stay as they are.
type KeyPatch struct {
	Name         *string            `json:"name,omitempty"`
	Scopes       *[]string          `json:"scopes,omitempty"`
	Roles        *[]string          `json:"roles,omitempty"`
	ExpiresAt    *string            `json:"expires_at,omitempty" doc:"RFC 3339, a duration from now on such as 30d, or never."`
	AllowedCIDRs *[]string          `json:"allowed_cidrs,omitempty"`
	Metadata     *map[string]string `json:"metadata,omitempty"`
	Rate         *string            `json:"rate,omitempty"`
	ShadowUntil  *string            `json:"shadow_until,omitempty" doc:"RFC 3339, a duration from now on such as 12h, or never to end it. At most 90 days ahead when it is first set, and never later than that afterwards. Needs the permission extauthz/shadow:update."`
	Project      *string            `json:"project,omitempty"`
}

// Rotation is a request to replace a key by a new one.
type Rotation struct {
	Grace     string     `json:"grace,omitempty" doc:"How long the old key stays valid, such as 24h or 7d; 0s ends it at once."`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"When the new key ends; by default it lives as long as the old one was made to."`
	ExpiresIn string     `json:"expires_in,omitempty" doc:"Instead of expires_at: a duration such as 12h or 30d."`
}

// Rotated is the new key, with the state of the old one.
type Rotated struct {
	Key
	Old Key `json:"old"`
}

// Role is a named set of scopes.
type Role struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Scopes      []string  `json:"scopes"`
	Unreadable  string    `json:"unreadable,omitempty" doc:"What is wrong with the role's row in the database, in lists. Keys that have the role are refused until the row is fixed."`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	Version     uint64    `json:"version"`
}

// Page is one page of a list.
type Page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty" doc:"Give it as cursor for the next page; absent on the last one."`
}

// ExplainRequest is a request whose decision is to be explained.
type ExplainRequest struct {
	Method  string   `json:"method"`
	URL     string   `json:"url" doc:"With or without scheme and host."`
	Headers []string `json:"headers,omitempty" doc:"Each \"name: value\"."`
	From    string   `json:"from,omitempty" doc:"The client's address."`
	Key     string   `json:"key,omitempty" doc:"Put into the first configured credential source."`
}

// Explanation is a decision, with the steps that led to it.
type Explanation struct {
	Allowed  bool         `json:"allowed"`
	Reason   string       `json:"reason"`
	Code     string       `json:"code"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail"`
	Resource string       `json:"resource,omitempty"`
	Action   string       `json:"action,omitempty"`
	Route    string       `json:"route,omitempty"`
	Steps    []authz.Step `json:"steps"`
}

// Route is a loaded rule.
type Route struct {
	Match     string `json:"match"`
	Resource  string `json:"resource,omitempty"`
	Action    string `json:"action,omitempty"`
	Anonymous bool   `json:"anonymous,omitempty"`
	Project   string `json:"project,omitempty" doc:"That the key must belong to"`
	Requires  string `json:"requires" doc:"What a request needs, in words: rules of an OpenAPI document can have alternatives"`
	Source    string `json:"source,omitempty" doc:"The OpenAPI document that the rule was read from"`
}

// RouteOf describes a rule.
func RouteOf(r *authz.Rule) Route {
	return Route{Match: r.Pattern, Resource: r.Resource, Action: r.Action, Anonymous: r.Anonymous, Project: r.Project, Requires: r.Requires(), Source: r.Source}
}

// AuditEntry is one change, with its actor: the key, or the part of the service, that made it.
type AuditEntry struct {
	ID            string            `json:"id"`
	At            time.Time         `json:"at"`
	Actor         string            `json:"actor" doc:"Id of the administrator that did it, or the part of the service."`
	ActorName     string            `json:"actor_name,omitempty"`
	Action        string            `json:"action"`
	KeyID         string            `json:"key_id,omitempty"`
	Prefix        string            `json:"prefix,omitempty"`
	UserID        string            `json:"user_id,omitempty"`
	Role          string            `json:"role,omitempty"`
	Administrator string            `json:"administrator,omitempty" doc:"Id of the administrator that was changed."`
	RequestID     string            `json:"request_id,omitempty"`
	Source        string            `json:"source,omitempty"`
	Detail        map[string]string `json:"detail,omitempty"`
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func keyOf(r *authz.Record, now time.Time) Key {
	k := Key{ID: r.ID, Prefix: r.Prefix, UserID: r.UserID, Name: r.Name, Scopes: r.Scopes.Strings(), Roles: append([]string{}, r.Roles...),
		Status: r.Status(now).String(), IsActive: r.Active, ExpiresAt: instant(r.ExpiresAt), RevokedAt: instant(r.RevokedAt), ShadowUntil: instant(r.ShadowUntil), ShadowEnd: instant(r.ShadowEnd),
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Environment: r.Environment, Project: r.Project, Metadata: r.Metadata,
		Rate: r.Rate.String(), Family: r.Family, RotatedFrom: r.RotatedFrom, Version: r.Version}
	for _, n := range r.AllowedCIDRs {
		k.AllowedCIDRs = append(k.AllowedCIDRs, n.String())
	}
	if len(r.ShadowScopes) > 0 {
		k.ShadowScopes = r.ShadowScopes.Strings()
	}
	if k.Unreadable = r.Unreadable; k.Unreadable != "" && r.RevokedAt.IsZero() {
		k.Status = "unreadable"
	}
	return k
}

func keysOf(records []authz.Record, now time.Time) []Key {
	out := make([]Key, len(records))
	for i := range records {
		out[i] = keyOf(&records[i], now)
	}
	return out
}

func usageOf(u authz.Usage) Usage {
	return Usage{KeyID: u.KeyID, Count: u.Count, LastUsedAt: instant(u.LastUsedAt)}
}

func roleOf(r authz.Role) Role {
	return Role{Name: r.Name, Description: r.Description, Scopes: r.Scopes.Strings(), Unreadable: r.Unreadable,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Version: r.Version}
}

func auditOf(e authz.AuditEntry) AuditEntry {
	return AuditEntry{ID: e.ID, At: e.At, Actor: e.Actor, ActorName: e.ActorName, Action: e.Action, KeyID: e.KeyID, Prefix: e.Prefix,
		UserID: e.UserID, Role: e.Role, Administrator: e.Administrator, RequestID: e.RequestID, Source: e.Source, Detail: e.Detail}
}

// These functions parse what the domain has types for. A problem names the faulty field.

func (g *Grants) domain(f *fields) authz.Grants {
	if g == nil {
		return authz.Grants{}
	}
	return authz.Grants{Scopes: parse(f, "grants.scopes", g.Scopes, authz.ParseScopes), Projects: g.Projects, Users: g.Users}
}

func networks(f *fields, texts []string) []netip.Prefix {
	return parse(f, "allowed_cidrs", texts, authz.ParseCIDRs)
}
