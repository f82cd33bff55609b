package keyring_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// purger records the purge that it is asked for.
type purger struct {
	configured authz.Purge
	asked      *authz.Purge
}

func (p *purger) Configured() authz.Purge { return p.configured }

func (p *purger) Purge(_ context.Context, asked authz.Purge) (authz.Purged, error) {
	p.asked = &asked
	return authz.Purged{RevokedKeys: 1}, nil
}

const day = 24 * time.Hour

func TestPurge_Bounds(t *testing.T) {
	for name, c := range map[string]struct {
		request    keyring.PurgeRequest
		configured time.Duration // retention.audit
		ok         bool
	}{
		"an hour":                       {keyring.PurgeRequest{RevokedFor: time.Hour, ExpiredFor: time.Hour}, 0, true},
		"revoked a moment ago":          {keyring.PurgeRequest{RevokedFor: time.Hour - 1}, 0, false},
		"expired a moment ago":          {keyring.PurgeRequest{ExpiredFor: 1}, 0, false},
		"ahead":                         {keyring.PurgeRequest{ExpiredFor: -day}, 0, false},
		"before there were keys":        {keyring.PurgeRequest{RevokedFor: 101 * 365 * day}, 0, false},
		"audit, kept for ever":          {keyring.PurgeRequest{AuditOlderThan: 30 * day}, 0, true},
		"lately, kept for ever":         {keyring.PurgeRequest{AuditOlderThan: 30*day - 1}, 0, false},
		"audit, kept for a year":        {keyring.PurgeRequest{AuditOlderThan: 365 * day}, 365 * day, true},
		"audit within its retention":    {keyring.PurgeRequest{AuditOlderThan: 364 * day}, 365 * day, false},
		"audit, kept for an hour":       {keyring.PurgeRequest{AuditOlderThan: time.Hour}, time.Hour, true},
		"nothing named: as configured":  {keyring.PurgeRequest{}, time.Hour, true},
		"only one of the kinds is good": {keyring.PurgeRequest{RevokedFor: day, ExpiredFor: time.Minute}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			p := &purger{configured: authz.Purge{AuditEntries: c.configured, Usage: day}}
			config := b.config()
			config.Purger = p
			keys := must(keyring.New(config))(t)
			_, err := keys.Purge(t.Context(), admin(t, "*:*", "*"), c.request)
			if c.ok != (err == nil) || c.ok != (p.asked != nil) || !c.ok && !errors.Is(err, keyring.ErrInvalid) {
				t.Fatalf("got %v, %+v", err, p.asked)
			}
			if !c.ok {
				return
			}
			if p.asked.By.Actor != "admin" || p.asked.By.ActorName != "the admin" || p.asked.By.Source != "192.0.2.1" || p.asked.By.RequestID != "r-1" {
				t.Errorf("the audit does not name who asked: %+v", p.asked.By)
			}
			if named := c.request != (keyring.PurgeRequest{}); named == (p.asked.Usage > 0) {
				t.Errorf("asked %+v", p.asked)
			}
		})
	}
}

func TestPurge_Permissions(t *testing.T) {
	b := newBench(t)
	p := &purger{configured: authz.Purge{AuditEntries: 365 * day}}
	config := b.config()
	config.Purger = p
	keys := must(keyring.New(config))(t)
	as := func(own string, projects ...string) keyring.Principal {
		p := admin(t, "*:*", projects...)
		p.Permissions = scopes(t, own)
		return p
	}
	some := keyring.PurgeRequest{RevokedFor: day}
	for name, c := range map[string]struct {
		principal keyring.Principal
		request   keyring.PurgeRequest
		ok        bool
	}{
		"keys":                                   {as("extauthz/keys:purge", "*"), some, true},
		"all of keys":                            {as("extauthz/keys:*", "*"), some, true},
		"other operations":                       {as("extauthz/keys:revoke extauthz/keys:update extauthz/audit:*", "*"), some, false},
		"one project":                            {as("extauthz:*", "shop"), some, false},
		"a wildcard":                             {as("*:*", "*"), some, false},
		"the audit without its permission":       {as("extauthz/keys:* extauthz/audit:read", "*"), keyring.PurgeRequest{AuditOlderThan: 400 * day}, false},
		"the configured audit without it":        {as("extauthz/keys:*", "*"), keyring.PurgeRequest{}, false},
		"the audit":                              {as("extauthz/keys:purge extauthz/audit:purge", "*"), keyring.PurgeRequest{AuditOlderThan: 400 * day}, true},
		"a dry run needs as much as the run too": {as("extauthz/keys:read", "*"), keyring.PurgeRequest{RevokedFor: day, DryRun: true}, false},
	} {
		p.asked = nil
		_, err := keys.Purge(t.Context(), c.principal, c.request)
		if c.ok != (err == nil) || c.ok != (p.asked != nil) || !c.ok && !errors.Is(err, keyring.ErrForbidden) {
			t.Errorf("%s: got %v, asked %+v", name, err, p.asked)
		}
	}
	if _, err := b.keys.Purge(t.Context(), system, some); err == nil {
		t.Error("a service without a purger purged")
	}
}
