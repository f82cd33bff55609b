package adminapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSubjects_EveryIdThatIsMadeCanBeNamed: every user id that a key can be created for
// works in each path, parameter and body that takes a user id.
func TestSubjects_EveryIdThatIsMadeCanBeNamed(t *testing.T) {
	b := newBench(t)
	for _, user := range []string{"a/b", "a//b", "/a", "a/", "%", "a%2Fb", "%2e%2e", "%252F", "?", "a?b=c", "#", "a&b", "a b", "a+b", ";", "a;b=c", "...", ".a", "a.", `a\b`, "keys", "revoke",
		"a/keys", "a/revoke", "caf\u00e9", "山田", "😀", "auth0|1", "spiffe://x/ns/y", `"`, "'", "<b>", "{user_id}", "a:b", "a@b.c", "*"} {
		k := want[Key](b, 201, "POST", "/v1/keys", asJSON(t, NewKey{UserID: user, Name: "n"}))
		if k.UserID != user {
			t.Errorf("%q is stored as %q", user, k.UserID)
		}
		for _, path := range []string{"/v1/users/" + url.PathEscape(user) + "/keys", "/v1/keys?user_id=" + url.QueryEscape(user)} {
			if got := want[Page[Key]](b, 200, "GET", path, ""); len(got.Items) != 1 || got.Items[0].ID != k.ID {
				t.Errorf("%q at %s: got %+v", user, path, got)
			}
		}
		if got := want[Page[AuditEntry]](b, 200, "GET", "/v1/audit?user_id="+url.QueryEscape(user), ""); len(got.Items) != 1 {
			t.Errorf("%q: audit %+v", user, got)
		}
		if got := want[Page[Usage]](b, 200, "GET", "/v1/usage?user_id="+url.QueryEscape(user), ""); len(got.Items) != 1 {
			t.Errorf("%q: usage %+v", user, got)
		}
		want[Explanation](b, 200, "POST", "/v1/explain", fmt.Sprintf(`{"method":"GET","url":"/orders","key":%q}`, k.Key)) // puts the key into the cache
		if got := want[map[string]any](b, 200, "POST", "/v1/cache/invalidate", asJSON(t, map[string]string{"user": user})); got["dropped"].(float64) < 1 {
			t.Errorf("%q: dropped %v", user, got)
		}
		if got := want[Page[Key]](b, 200, "POST", "/v1/users/"+url.PathEscape(user)+"/revoke", ""); len(got.Items) != 1 || got.Items[0].Status != "revoked" {
			t.Errorf("%q: revoked %+v", user, got)
		}
	}
}

func TestSubjects_WhatAPathResolvesIsRefusedWithTheReason(t *testing.T) {
	b := newBench(t)
	for user, says := range map[string]string{".": "URL", "..": "URL", "../x": "URL", "a/..": "URL", "a/./b": "URL", "/": "URL", `..\x`: "URL", " alice": "blank", "alice\u3000": "blank", "al\u200bice": "U+200B", "a\U000e0041": "U+E0041"} {
		status, _, answer := b.call("POST", "/v1/keys", asJSON(t, NewKey{UserID: user, Name: "n"}))
		if status != 422 || !strings.Contains(answer, "user_id") || !strings.Contains(answer, says) {
			t.Errorf("%q: got %d %s", user, status, answer)
		}
	}
}

// TestSubjects_OneUserInEveryForm: a user whose id was sent in one form is found by the
// other.
func TestSubjects_OneUserInEveryForm(t *testing.T) {
	const composed, decomposed = "caf\u00e9", "cafe\u0301"
	b := newBench(t)
	k := want[Key](b, 201, "POST", "/v1/keys", asJSON(t, NewKey{UserID: decomposed, Name: decomposed}))
	if k.UserID != composed || k.Name != composed {
		t.Errorf("stored as %q and %q", k.UserID, k.Name)
	}
	for _, user := range []string{composed, decomposed} {
		if got := want[Page[Key]](b, 200, "GET", "/v1/users/"+url.PathEscape(user)+"/keys", ""); len(got.Items) != 1 {
			t.Errorf("%q: got %+v", user, got)
		}
	}
	if got := want[Page[Key]](b, 200, "POST", "/v1/users/"+url.PathEscape(decomposed)+"/revoke", ""); len(got.Items) != 1 || got.Items[0].Status != "revoked" {
		t.Errorf("got %+v", got)
	}
}
