package adminapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
	"extauthz/authz/keyring"
	"extauthz/cmd/extauthz/internal/duration"
)

type keyAnswer struct {
	ETag string `header:"ETag"`
	Body Key
}

// KeyRef and the other embedded inputs are exported because huma ignores embedded structs
// that are not.
type KeyRef struct {
	ID string `path:"id" doc:"A key's id or prefix."`
}

// answer describes a record, with its version as the entity tag.
func (a *api) answer(r *authz.Record) *keyAnswer {
	return &keyAnswer{ETag: etag(r.Version), Body: keyOf(r, a.cache.Now())}
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// ifMatch parses an entity tag of this API; 0 stands for any version.
func ifMatch(text string) (uint64, error) {
	if text == "" || text == "*" {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.Trim(strings.TrimPrefix(text, "W/"), `"`), 10, 64)
	if err != nil || n == 0 {
		return 0, newProblem(CodePreconditionFailed, "If-Match is no ETag that this API gave: read the key again")
	}
	return n, nil
}

func (a *api) registerKeys(h huma.API) {
	register(a, h, http.MethodPost, "/v1/keys", operation{tagKeys, keyring.CreateKeys, "create-key", "Create a key; it is shown only once", http.StatusCreated, []int{409}}, a.createKey)
	register(a, h, http.MethodGet, "/v1/keys", operation{tagKeys, keyring.ReadKeys, "list-keys", "List keys, newest first", 0, []int{404}}, a.listKeys)
	register(a, h, http.MethodGet, "/v1/keys/{id}", operation{tagKeys, keyring.ReadKeys, "get-key", "Show a key", 0, []int{404}},
		func(ctx context.Context, p keyring.Principal, in *KeyRef) (*keyAnswer, error) {
			r, err := a.keys.Get(ctx, p, in.ID)
			return a.answer(&r), err
		})
	register(a, h, http.MethodPatch, "/v1/keys/{id}", operation{tagKeys, keyring.UpdateKeys, "update-key", "Change a key", 0, []int{404, 409, 412}}, a.updateKey)
	register(a, h, http.MethodDelete, "/v1/keys/{id}", operation{tagKeys, keyring.RevokeKeys, "revoke-key", "Revoke a key and its rotation family; it stays in lists", 0, []int{404, 409}}, a.revokeKey)
	register(a, h, http.MethodPost, "/v1/keys/{id}/rotate", operation{tagKeys, keyring.RotateKeys, "rotate-key", "Replace the key by a new one; it is shown only once", http.StatusCreated, []int{404, 409, 412}}, a.rotateKey)
	for verb, do := range map[string]func(context.Context, keyring.Principal, string) (authz.Record, error){"enable": a.keys.Enable, "disable": a.keys.Disable} {
		register(a, h, http.MethodPost, "/v1/keys/{id}/"+verb, operation{tagKeys, keyring.UpdateKeys, verb + "-key", strings.ToUpper(verb[:1]) + verb[1:] + " a key", 0, []int{404, 409}},
			func(ctx context.Context, p keyring.Principal, in *KeyRef) (*keyAnswer, error) {
				r, err := do(ctx, p, in.ID)
				return a.answer(&r), err
			})
	}
	register(a, h, http.MethodGet, "/v1/keys/{id}/usage", operation{tagHistory, keyring.ReadUsage, "get-key-usage", "Show the usage of a key", 0, []int{404}}, a.keyUsage)
	register(a, h, http.MethodGet, "/v1/users/{user_id}/keys", operation{tagKeys, keyring.ReadKeys, "list-user-keys", "List a user's keys, newest first", 0, nil}, a.userKeys)
	register(a, h, http.MethodPost, "/v1/users/{user_id}/revoke", operation{tagKeys, keyring.RevokeKeys, "revoke-user-keys", "Revoke all keys of a user", 0, []int{409}}, a.revokeUser)
}

type createInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"Repeated calls with the same value create one key. Empty: as if absent."`
	Body           NewKey
}

func (a *api) createKey(ctx context.Context, p keyring.Principal, in *createInput) (*keyAnswer, error) {
	var f fields
	b := in.Body
	r := keyring.CreateRequest{UserID: b.UserID, Name: b.Name, Environment: b.Environment, Roles: b.Roles, Project: b.Project,
		Metadata: b.Metadata, IdempotencyKey: in.IdempotencyKey,
		Scopes: parse(&f, "scopes", b.Scopes, authz.ParseScopes), AllowedCIDRs: networks(&f, b.AllowedCIDRs),
		Rate: parse(&f, "rate", b.Rate, authz.ParseRate)}
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
	created, err := a.keys.Create(ctx, p, r)
	if err != nil {
		return nil, err
	}
	out := a.answer(&created.Record)
	out.Body.Key, out.Body.Replayed = created.Key.Reveal(), created.Replayed
	return out, nil
}

// Paging holds the parameters that every list has.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The most elements of the answer."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before; none for the first page."`
}

type listInput struct {
	Paging
	UserID    string `query:"user_id"`
	Project   string `query:"project"`
	Text      string `query:"q" doc:"What a prefix, a name (in any case) or a user id begins with. It orders the list too."`
	Active    bool   `query:"active" doc:"Only keys that are good now."`
	UnusedFor string `query:"unused_for" doc:"Only keys older than this that were not used for as long, such as 90d."`
	Usage     bool   `query:"usage"`
}

type keysAnswer struct{ Body Page[Key] }

func (a *api) listKeys(ctx context.Context, p keyring.Principal, in *listInput) (*keysAnswer, error) {
	now := a.cache.Now()
	after, err := in.after(keyCursor)
	if err != nil {
		return nil, err
	}
	filter := authz.KeyFilter{UserID: in.UserID, Project: in.Project, Text: in.Text, ActiveOnly: in.Active, Now: now,
		WithUsage: in.Usage, After: after, Limit: in.Limit}
	if in.UnusedFor != "" {
		d, err := duration.Positive(in.UnusedFor)
		if err != nil {
			return nil, invalid("query.unused_for", messageOf(err))
		}
		filter.UnusedSince = now.Add(-d)
	}
	return a.page(a.keys.List(ctx, p, filter))(in.Limit, now)
}

// page answers with a list. After a full page there may be another one, so it has a
// cursor.
func (a *api) page(listed []authz.Listed, err error) func(limit int, now time.Time) (*keysAnswer, error) {
	return func(limit int, now time.Time) (*keysAnswer, error) {
		if err != nil {
			return nil, err
		}
		out := &keysAnswer{Body: Page[Key]{Items: make([]Key, len(listed))}}
		for i := range listed {
			out.Body.Items[i] = keyOf(&listed[i].Record, now)
			if listed[i].Usage != nil {
				u := usageOf(*listed[i].Usage)
				out.Body.Items[i].Usage = &u
			}
		}
		if len(listed) == limit {
			out.Body.NextCursor = cursorOf(keyCursor, listed[limit-1].ID)
		}
		return out, nil
	}
}

type updateInput struct {
	KeyRef
	IfMatch string `header:"If-Match" doc:"The ETag that was read; another version is 412."`
	Body    KeyPatch
}

func (a *api) updateKey(ctx context.Context, p keyring.Principal, in *updateInput) (*keyAnswer, error) {
	version, err := ifMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	var f fields
	b := in.Body
	patch := keyring.Patch{Name: b.Name, Roles: b.Roles, Project: b.Project, Metadata: b.Metadata, IfVersion: version}
	if b.Scopes != nil {
		s := parse(&f, "scopes", *b.Scopes, authz.ParseScopes)
		patch.Scopes = &s
	}
	if b.AllowedCIDRs != nil {
		n := networks(&f, *b.AllowedCIDRs)
		patch.AllowedCIDRs = &n
	}
	if b.Rate != nil {
		r := parse(&f, "rate", *b.Rate, authz.ParseRate)
		patch.Rate = &r
	}
	patch.ExpiresAt = a.timeOrNever(&f, "expires_at", b.ExpiresAt)
	patch.ShadowUntil = a.timeOrNever(&f, "shadow_until", b.ShadowUntil)
	if err := f.err(); err != nil {
		return nil, err
	}
	r, err := a.keys.Update(ctx, p, in.ID, patch)
	return a.answer(&r), err
}

// timeOrNever parses a time, or a duration from this server's now. "never" becomes the
// zero time, and nil stays nil.
func (a *api) timeOrNever(f *fields, field string, text *string) *time.Time {
	if text == nil {
		return nil
	}
	if *text == "never" {
		return new(time.Time)
	}
	t := parse(f, field, *text, func(s string) (time.Time, error) { return duration.From(s, a.cache.Now()) })
	return &t
}

type revokeInput struct {
	KeyRef
	OnlyThis bool   `query:"only_this" doc:"Leave the other keys of the rotation family as they are."`
	Reason   string `query:"reason" doc:"For the audit."`
}

func (a *api) revokeKey(ctx context.Context, p keyring.Principal, in *revokeInput) (*keysAnswer, error) {
	return a.revoked(a.keys.Revoke(ctx, p, []string{in.ID}, keyring.RevokeOptions{OnlyThis: in.OnlyThis, Reason: in.Reason}))
}

type userInput struct {
	UserID string `path:"user_id"`
	Reason string `query:"reason" doc:"For the audit."`
}

func (a *api) revokeUser(ctx context.Context, p keyring.Principal, in *userInput) (*keysAnswer, error) {
	return a.revoked(a.keys.RevokeUser(ctx, p, in.UserID, keyring.RevokeOptions{Reason: in.Reason}))
}

func (a *api) revoked(records []authz.Record, err error) (*keysAnswer, error) {
	return &keysAnswer{Body: Page[Key]{Items: keysOf(records, a.cache.Now())}}, err
}

type userKeysInput struct {
	Paging
	UserID string `path:"user_id"`
	Usage  bool   `query:"usage"`
}

func (a *api) userKeys(ctx context.Context, p keyring.Principal, in *userKeysInput) (*keysAnswer, error) {
	after, err := in.after(keyCursor)
	if err != nil {
		return nil, err
	}
	filter := authz.KeyFilter{UserID: in.UserID, WithUsage: in.Usage, After: after, Limit: in.Limit, Now: a.cache.Now()}
	return a.page(a.keys.List(ctx, p, filter))(in.Limit, filter.Now)
}

type rotateInput struct {
	KeyRef
	IfMatch string    `header:"If-Match"`
	Body    *Rotation `required:"false"`
}

type rotatedAnswer struct {
	ETag string `header:"ETag"`
	Body Rotated
}

func (a *api) rotateKey(ctx context.Context, p keyring.Principal, in *rotateInput) (*rotatedAnswer, error) {
	version, err := ifMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	o := keyring.RotateOptions{IfVersion: version}
	if in.Body != nil {
		var f fields
		a.readRotation(&f, in.Body, &o)
		if err := f.err(); err != nil {
			return nil, err
		}
	}
	r, err := a.keys.Rotate(ctx, p, in.ID, o)
	if err != nil {
		return nil, err
	}
	now := a.cache.Now()
	out := &rotatedAnswer{ETag: etag(r.Record.Version), Body: Rotated{Key: keyOf(&r.Record, now), Old: keyOf(&r.Old, now)}}
	out.Body.Key.Key = r.Key.Reveal()
	return out, nil
}

// readRotation parses the times of a rotation.
func (a *api) readRotation(f *fields, r *Rotation, o *keyring.RotateOptions) {
	o.ExpiresAt = r.ExpiresAt
	switch {
	case r.ExpiresIn != "" && r.ExpiresAt != nil:
		f.add("expires_in", "write expires_in or expires_at, not both")
	case r.ExpiresIn != "":
		at := a.cache.Now().Add(parse(f, "expires_in", r.ExpiresIn, duration.Positive))
		o.ExpiresAt = &at
	}
	if r.Grace != "" {
		grace := parse(f, "grace", r.Grace, duration.Parse)
		o.Grace = &grace
	}
}

type usageAnswer struct{ Body Usage }

func (a *api) keyUsage(ctx context.Context, p keyring.Principal, in *KeyRef) (*usageAnswer, error) {
	used, err := a.keys.Usage(ctx, p, []string{in.ID})
	if err != nil {
		return nil, err
	}
	out := &usageAnswer{Body: Usage{KeyID: in.ID}}
	if len(used) > 0 {
		out.Body = usageOf(used[0])
	}
	return out, nil
}
