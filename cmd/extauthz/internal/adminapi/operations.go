package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
	"extauthz/authz/keyring"
	"extauthz/authz/subject"
	"extauthz/cachesvc"
	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/cmd/extauthz/internal/duration"
)

// CacheFigures are the cached validator's figures.
type CacheFigures struct {
	State      string         `json:"state"`
	FeedAge    string         `json:"feed_age" doc:"Since the last complete read of the change feed began."`
	LeaseFresh bool           `json:"lease_fresh" doc:"Whether the last complete feed read is younger than cache.local.lease, so that cached keys need no look-up."`
	DatabaseUp bool           `json:"database_up"`
	Pending    int64          `json:"usage_pending"`
	Redis      string         `json:"redis" doc:"none, up, full, open (unavailable, not called) or half_open (tried again)."`
	Trusted    bool           `json:"redis_trusted" doc:"Whether values in Redis are sealed and trusted for checks."`
	Statistics cachesvc.Stats `json:"statistics"`
}

// Monitors holds what the cache's monitors find now.
type Monitors struct {
	Findings []cachesvc.Finding `json:"findings"`
}

// Warmed is the result of a warming.
type Warmed struct {
	Keys   int    `json:"keys" doc:"Read and kept in the process; those that were there already are not counted."`
	Shared int    `json:"in_redis" doc:"Of them written to Redis."`
	Took   string `json:"took"`
}

type monitorsAnswer struct{ Body Monitors }

// Warming selects the keys to load.
type Warming struct {
	Keys int `json:"keys,omitempty" minimum:"1" maximum:"10000000" default:"10000" doc:"How many of the most used keys, at most."`
}

type warmInput struct{ Body Warming }

type warmedAnswer struct{ Body Warmed }

// Invalidation is one entry of the recent invalidations.
type Invalidation struct {
	At      time.Time `json:"at"`
	Cause   string    `json:"cause"`
	By      string    `json:"by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Target  string    `json:"target"`
	Dropped int       `json:"dropped"`
}

type cacheAnswer struct{ Body CacheFigures }

// CacheEntries names the entries to drop, by exactly one of key, user, tag and all.
type CacheEntries struct {
	Key    string `json:"key,omitempty" doc:"Id or prefix."`
	User   string `json:"user,omitempty"`
	Tag    string `json:"tag,omitempty"`
	All    bool   `json:"all,omitempty"`
	Reason string `json:"reason,omitempty" maxLength:"200"`
}

type invalidateInput struct{ Body CacheEntries }

// Dropped is the result of an invalidation.
type Dropped struct {
	Dropped int `json:"dropped" doc:"Entries that were there."`
}

type invalidatedAnswer struct{ Body Dropped }

type invalidationsInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The most elements of the answer. There is one page."`
}

type invalidationsAnswer struct{ Body Page[Invalidation] }

type auditInput struct {
	Paging
	KeyID         string `query:"key_id"`
	UserID        string `query:"user_id"`
	Actor         string `query:"actor"`
	Action        string `query:"action"`
	Administrator string `query:"administrator" doc:"Id of the administrator that was changed."`
	Since         string `query:"since" doc:"Only entries from this time on: RFC 3339, or a duration before now such as 24h or 30d."`
}

type auditAnswer struct{ Body Page[AuditEntry] }

type usageInput struct {
	Paging
	UserID string `query:"user_id"`
	KeyID  string `query:"key_id"`
}

type usagesAnswer struct{ Body Page[Usage] }

// Conditions holds the active conditions.
type Conditions struct {
	Items []conditions.Condition `json:"items" doc:"The urgent ones first."`
}

type conditionsAnswer struct{ Body Conditions }

func (a *api) registerOperations(h huma.API) {
	register(a, h, http.MethodGet, "/v1/conditions", operation{tagConditions, keyring.ReadCache, "list-conditions", "List the conditions of this replica, and what to do", 0, nil},
		func(_ context.Context, p keyring.Principal, _ *struct{}) (*conditionsAnswer, error) {
			if err := p.Require(keyring.ReadCache); err != nil {
				return nil, err
			}
			out := &conditionsAnswer{}
			out.Body.Items = a.conditions()
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/cache", operation{tagCache, keyring.ReadCache, "get-cache", "Show the cache's statistics on this replica", 0, nil},
		func(ctx context.Context, p keyring.Principal, _ *struct{}) (*cacheAnswer, error) {
			if err := p.Require(keyring.ReadCache); err != nil {
				return nil, err
			}
			s := a.cache.Status()
			return &cacheAnswer{CacheFigures{State: string(s.State), FeedAge: s.FeedAge.Round(time.Millisecond).String(), LeaseFresh: s.LeaseFresh,
				DatabaseUp: s.DatabaseUp, Pending: s.UsagePending, Redis: s.Shared, Trusted: s.Trusted, Statistics: a.stats(ctx)}}, nil
		})
	register(a, h, http.MethodPost, "/v1/cache/invalidate", operation{tagCache, keyring.InvalidateCache, "invalidate-cache", "Drop cached entries, so that they are loaded again", 0, nil},
		func(ctx context.Context, p keyring.Principal, in *invalidateInput) (*invalidatedAnswer, error) {
			if err := p.Require(keyring.InvalidateCache); err != nil {
				return nil, err
			}
			b := in.Body
			out := &invalidatedAnswer{}
			for _, user := range subject.Forms(b.User) { // one form only, unless the id may be stored in several
				n, err := a.cache.Invalidate(ctx, cachesvc.Target{Key: b.Key, User: user, Tag: b.Tag, All: b.All}, p.Actor(), b.Reason)
				if err != nil {
					return nil, newProblem(CodeInvalidRequest, err.Error())
				}
				out.Body.Dropped += n
			}
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/cache/monitors", operation{tagCache, keyring.ReadCache, "get-cache-monitors", "Run the cache's monitors now", 0, nil},
		func(ctx context.Context, p keyring.Principal, _ *struct{}) (*monitorsAnswer, error) {
			if err := p.Require(keyring.ReadCache); err != nil {
				return nil, err
			}
			return &monitorsAnswer{Monitors{a.cache.RunMonitors(ctx)}}, nil
		})
	register(a, h, http.MethodPost, warmPath, operation{tagCache, keyring.WarmCache, "warm-cache", "Load the most used keys into the cache", 0, nil},
		func(ctx context.Context, p keyring.Principal, in *warmInput) (*warmedAnswer, error) {
			if err := p.Require(keyring.WarmCache); err != nil {
				return nil, err
			}
			w, err := a.cache.Warm(ctx, in.Body.Keys)
			if err != nil {
				return nil, err
			}
			return &warmedAnswer{Warmed{w.Keys, w.Shared, w.Took.Round(time.Millisecond).String()}}, nil
		})
	register(a, h, http.MethodGet, "/v1/cache/invalidations", operation{tagCache, keyring.ReadCache, "list-cache-invalidations", "List recent invalidations on this replica, with their callers and reasons", 0, nil},
		func(_ context.Context, p keyring.Principal, in *invalidationsInput) (*invalidationsAnswer, error) {
			if err := p.Require(keyring.ReadCache); err != nil {
				return nil, err
			}
			out := &invalidationsAnswer{Body: Page[Invalidation]{Items: []Invalidation{}}}
			for _, i := range a.cache.Invalidations(in.Limit) {
				out.Body.Items = append(out.Body.Items, Invalidation{At: i.At, Cause: string(i.Cause.Kind), By: i.Cause.By, Reason: i.Cause.Why, Target: i.Target, Dropped: i.Dropped})
			}
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/audit", operation{tagHistory, keyring.ReadAudit, "list-audit", "List who changed what, newest first", 0, []int{404}},
		func(ctx context.Context, p keyring.Principal, in *auditInput) (*auditAnswer, error) {
			before, err := in.after(auditCursor)
			if err != nil {
				return nil, err
			}
			since, err := a.since(in.Since)
			if err != nil {
				return nil, err
			}
			entries, err := a.keys.ListAudit(ctx, p, authz.AuditFilter{KeyID: in.KeyID, UserID: in.UserID, Actor: in.Actor, Administrator: in.Administrator, Action: in.Action,
				Since: since, Before: before, Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			out := &auditAnswer{Body: Page[AuditEntry]{Items: make([]AuditEntry, len(entries))}}
			for i, e := range entries {
				out.Body.Items[i] = auditOf(e)
			}
			if len(entries) == in.Limit {
				out.Body.NextCursor = cursorOf(auditCursor, entries[len(entries)-1].ID)
			}
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/usage", operation{tagHistory, keyring.ReadUsage, "list-usage", "List the usage of keys", 0, []int{404}}, a.usage)
}

// since parses a time in the past; an empty text is the zero time.
func (a *api) since(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := duration.Ago(text, a.cache.Now())
	if err != nil {
		return t, invalid("query.since", messageOf(err))
	}
	return t, nil
}

func (a *api) stats(ctx context.Context) cachesvc.Stats {
	s := a.cache.Stats()
	s.Replicas = append(s.Replicas, a.cache.Replicas(ctx)...)
	return s
}

func (a *api) usage(ctx context.Context, p keyring.Principal, in *usageInput) (*usagesAnswer, error) {
	if err := p.Require(keyring.ReadUsage); err != nil {
		return nil, err
	}
	out := &usagesAnswer{Body: Page[Usage]{Items: []Usage{}}}
	if in.KeyID != "" && (in.UserID != "" || in.Cursor != "") {
		return nil, invalid("query.key_id", "names one key: leave user_id and cursor out")
	}
	after, err := in.after(keyCursor)
	if err != nil {
		return nil, err
	}
	if in.KeyID != "" {
		one, err := a.keyUsage(ctx, p, &KeyRef{ID: in.KeyID})
		if err != nil {
			return nil, err
		}
		out.Body.Items = append(out.Body.Items, one.Body)
		return out, nil
	}
	listed, err := a.keys.List(ctx, p, authz.KeyFilter{UserID: in.UserID, WithUsage: true, After: after, Limit: in.Limit, Now: a.cache.Now()})
	if err != nil {
		return nil, err
	}
	for _, k := range listed {
		if k.Usage != nil {
			out.Body.Items = append(out.Body.Items, usageOf(*k.Usage))
		}
	}
	if len(listed) == in.Limit {
		out.Body.NextCursor = cursorOf(keyCursor, listed[len(listed)-1].ID)
	}
	return out, nil
}
