package adminapi

import (
	"testing"
	"time"

	"extauthz/cmd/extauthz/internal/duration"
)

// lasts reports whether at is far from now, give or take a minute.
func lasts(at *time.Time, far time.Duration) bool {
	return at != nil && time.Until(*at) > far-time.Minute && time.Until(*at) < far+time.Minute
}

func TestAPI_DurationsHaveDaysAndWeeks(t *testing.T) {
	b := newBench(t)
	k := want[Key](b, 201, "POST", "/v1/keys", `{"user_id":"alice","name":"laptop","scopes":["orders:read"],"expires_in":"30d"}`)
	if !lasts(k.ExpiresAt, 30*duration.Day) {
		t.Errorf("30d: it expires at %v", k.ExpiresAt)
	}
	k = want[Key](b, 200, "PATCH", "/v1/keys/"+k.ID, `{"expires_at":"2w","shadow_until":"1d12h"}`)
	if !lasts(k.ExpiresAt, 2*duration.Week) || !lasts(k.ShadowUntil, 36*time.Hour) {
		t.Errorf("2w and 1d12h: %v and %v", k.ExpiresAt, k.ShadowUntil)
	}
	r := want[Rotated](b, 201, "POST", "/v1/keys/"+k.ID+"/rotate", `{"grace":"7d","expires_in":"90d"}`)
	if !lasts(r.ExpiresAt, 90*duration.Day) || !lasts(r.Old.ExpiresAt, duration.Week) {
		t.Errorf("90d and 7d: %v and %v", r.ExpiresAt, r.Old.ExpiresAt)
	}
	if page := want[Page[Key]](b, 200, "GET", "/v1/keys?unused_for=30d", ""); len(page.Items) != 0 {
		t.Errorf("%d keys are older than 30 days", len(page.Items))
	}
	for since, entries := range map[string]bool{"24h": true, "1w": true, "1ns": false, "2020-01-31T00:00:00Z": true, "2100-01-31T00:00:00Z": false} {
		if page := want[Page[AuditEntry]](b, 200, "GET", "/v1/audit?since="+since, ""); (len(page.Items) > 0) != entries {
			t.Errorf("since %s: %d entries", since, len(page.Items))
		}
	}
}

func TestAPI_RefusesTextsThatAreNoDuration(t *testing.T) {
	b := newBench(t)
	k := want[Key](b, 201, "POST", "/v1/keys", `{"user_id":"alice","name":"laptop"}`)
	for _, c := range [][3]string{
		{"POST", "/v1/keys", `{"user_id":"alice","name":"laptop","expires_in":"-1d"}`},
		{"POST", "/v1/keys", `{"user_id":"alice","name":"laptop","expires_in":"30"}`},
		{"PATCH", "/v1/keys/" + k.ID, `{"expires_at":"0d"}`},
		{"POST", "/v1/keys/" + k.ID + "/rotate", `{"grace":"1y"}`},
		{"POST", "/v1/keys/" + k.ID + "/rotate", `{"expires_in":"0s"}`},
		{"POST", "/v1/keys/" + k.ID + "/rotate", `{"expires_in":"1d","expires_at":"2100-01-31T00:00:00Z"}`},
		{"POST", "/v1/purge", `{"revoked_for":"0d"}`},
		{"GET", "/v1/keys?unused_for=0d", ""},
		{"GET", "/v1/audit?since=yesterday", ""},
	} {
		if status, _, body := b.call(c[0], c[1], c[2]); status != 422 {
			t.Errorf("%v: %d %s", c, status, body)
		}
	}
}
