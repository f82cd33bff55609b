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
	LeaseHolds bool           `json:"lease_holds"`
	DatabaseUp bool           `json:"database_up"`
	Pending    int64          `json:"usage_pending"`
	Redis      string         `json:"redis" doc:"none, up, full, open (left alone) or half_open (tried again)."`
	Believed   bool           `json:"redis_believed" doc:"Whether values in Redis are sealed and count for checks."`
	Statistics cachesvc.Stats `json:"statistics"`
}

// Monitors is what the cache's monitors see now.
type Monitors struct {
	Findings []cachesvc.Finding `json:"findings"`
}

// Warmed is what a warming has done.
type Warmed struct {
	Keys   int    `json:"keys" doc:"Read and kept in the process; those that were there already are not counted."`
	Shared int    `json:"in_redis" doc:"Of them written to Redis."`
	Took   string `json:"took"`
}

type monitorsAnswer struct{ Body Monitors }

type warmInput struct {
	Body struct {
		Keys int `json:"keys,omitempty" minimum:"1" maximum:"10000000" default:"10000" doc:"How many of the most used keys, at most."`
	}
}

type warmedAnswer struct{ Body Warmed }

// Invalidation is one entry of the recent invalidations.
type Invalidation struct {
	At      time.Time `json:"at"`
	Cause   string    `json:"cause"`
	By      string    `json:"by,omitempty"`
	Why     string    `json:"why,omitempty"`
	Target  string    `json:"target"`
	Dropped int       `json:"dropped"`
}

type cacheAnswer struct{ Body CacheFigures }

type invalidateInput struct {
	Body struct {
		Key    string `json:"key,omitempty" doc:"Id or prefix."`
		User   string `json:"user,omitempty"`
		Tag    string `json:"tag,omitempty"`
		All    bool   `json:"all,omitempty"`
		Reason string `json:"reason,omitempty" maxLength:"200"`
	}
}

type invalidatedAnswer struct {
	Body struct {
		Dropped int `json:"dropped" doc:"Entries that were there."`
	}
}

type invalidationsAnswer struct{ Body Page[Invalidation] }

type auditInput struct {
	Paging
	KeyID  string `query:"key_id"`
	UserID string `query:"user_id"`
	Actor  string `query:"actor"`
	Action string `query:"action"`
	Since  string `query:"since" doc:"Only entries from this time on: RFC 3339, or a duration before now such as 24h or 30d."`
}

type auditAnswer struct{ Body Page[AuditEntry] }

type usageInput struct {
	Paging
	UserID string `query:"user_id"`
	KeyID  string `query:"key_id"`
}

type usagesAnswer struct{ Body Page[Usage] }

type conditionsAnswer struct {
	Body struct {
		Items []conditions.Condition `json:"items" doc:"The urgent ones first."`
	}
}

func (a *api) registerOperations(h huma.API) {
	register(a, h, http.MethodGet, "/v1/conditions", "conditions", "What is wrong on this replica now, and what to do", 0,
		func(_ context.Context, p keyring.Principal, _ *struct{}) (*conditionsAnswer, error) {
			if err := p.Require(keyring.ReadCache); err != nil {
				return nil, err
			}
			out := &conditionsAnswer{}
			out.Body.Items = a.conditions()
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/cache", "cache-figures", "The cache's figures on this replica", 0,
		func(ctx context.Context, p keyring.Principal, _ *struct{}) (*cacheAnswer, error) {
			if err := p.Require(keyring.ReadCache); err != nil {
				return nil, err
			}
			s := a.cache.Status()
			return &cacheAnswer{CacheFigures{State: string(s.State), FeedAge: s.FeedAge.Round(time.Millisecond).String(), LeaseHolds: s.LeaseHolds,
				DatabaseUp: s.DatabaseUp, Pending: s.UsagePending, Redis: s.Shared, Believed: s.Believed, Statistics: a.stats(ctx)}}, nil
		})
	register(a, h, http.MethodPost, "/v1/cache/invalidate", "invalidate-cache", "Drop entries, so that they are read anew", 0,
		func(ctx context.Context, p keyring.Principal, in *invalidateInput) (*invalidatedAnswer, error) {
			if err := p.Require(keyring.InvalidateCache); err != nil {
				return nil, err
			}
			b := in.Body
			out := &invalidatedAnswer{}
			for _, user := range subject.Forms(b.User) { // one, but for an id that may be stored in several forms
				n, err := a.cache.Invalidate(ctx, cachesvc.Target{Key: b.Key, User: user, Tag: b.Tag, All: b.All}, p.KeyID, b.Reason)
				if err != nil {
					return nil, huma.Error422UnprocessableEntity(err.Error())
				}
				out.Body.Dropped += n
			}
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/cache/monitors", "cache-monitors", "Have the cache's monitors look now", 0,
		func(ctx context.Context, p keyring.Principal, _ *struct{}) (*monitorsAnswer, error) {
			if err := p.Require(keyring.ReadCache); err != nil {
				return nil, err
			}
			return &monitorsAnswer{Monitors{a.cache.Look(ctx)}}, nil
		})
	register(a, h, http.MethodPost, warmPath, "warm-cache", "Read the most used keys before they are asked for", 0,
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
	register(a, h, http.MethodGet, "/v1/cache/invalidations", "cache-invalidations", "Recent invalidations on this replica, with who and why", 0,
		func(_ context.Context, p keyring.Principal, in *Paging) (*invalidationsAnswer, error) {
			if err := p.Require(keyring.ReadCache); err != nil {
				return nil, err
			}
			out := &invalidationsAnswer{Body: Page[Invalidation]{Items: []Invalidation{}}}
			for _, i := range a.cache.Invalidations(in.Limit) {
				out.Body.Items = append(out.Body.Items, Invalidation{At: i.At, Cause: string(i.Cause.Kind), By: i.Cause.By, Why: i.Cause.Why, Target: i.Target, Dropped: i.Dropped})
			}
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/audit", "audit", "Who changed what, newest first", 0,
		func(ctx context.Context, p keyring.Principal, in *auditInput) (*auditAnswer, error) {
			since, err := a.since(in.Since)
			if err != nil {
				return nil, err
			}
			entries, err := a.keys.ListAudit(ctx, p, authz.AuditFilter{KeyID: in.KeyID, UserID: in.UserID, Actor: in.Actor, Action: in.Action,
				Since: since, Before: in.Cursor, Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			out := &auditAnswer{Body: Page[AuditEntry]{Items: make([]AuditEntry, len(entries))}}
			for i, e := range entries {
				out.Body.Items[i] = auditOf(e)
			}
			if len(entries) == in.Limit {
				out.Body.NextCursor = entries[len(entries)-1].ID
			}
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/usage", "usage", "How keys were used", 0, a.usage)
}

// since reads an instant in the past; empty is the zero time.
func (a *api) since(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := duration.Ago(text, a.cache.Now())
	if err != nil {
		return t, huma.Error422UnprocessableEntity("since: " + err.Error())
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
	if in.KeyID != "" {
		one, err := a.keyUsage(ctx, p, &KeyRef{ID: in.KeyID})
		if err != nil {
			return nil, err
		}
		out.Body.Items = append(out.Body.Items, one.Body)
		return out, nil
	}
	listed, err := a.keys.List(ctx, p, authz.KeyFilter{UserID: in.UserID, WithUsage: true, After: in.Cursor, Limit: in.Limit, Now: a.cache.Now()})
	if err != nil {
		return nil, err
	}
	for _, k := range listed {
		if k.Usage != nil {
			out.Body.Items = append(out.Body.Items, usageOf(*k.Usage))
		}
	}
	if len(listed) == in.Limit {
		out.Body.NextCursor = listed[len(listed)-1].ID
	}
	return out, nil
}
