package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/adminapi"
)

// TestKeysGet_NamesTheSuccessor: the newest key that replaced it, and none for a key that
// was not rotated.
func TestKeysGet_NamesTheSuccessor(t *testing.T) {
	keys := []adminapi.Key{ // newest first, as lists are
		{ID: "05", Prefix: "ak_live_55555555", UserID: "u", Status: "active"},
		{ID: "04", Prefix: "ak_live_44444444", UserID: "u", Status: "active", RotatedFrom: "01"},
		{ID: "03", Prefix: "ak_live_33333333", UserID: "u", Status: "revoked", RotatedFrom: "01"},
		{ID: "02", Prefix: "ak_live_22222222", UserID: "u", Status: "active"},
		{ID: "01", Prefix: "ak_live_11111111", UserID: "u", Status: "expired"},
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		if ref, one := strings.CutPrefix(r.URL.Path, "/v1/keys/"); one {
			for i := range keys {
				if keys[i].Prefix == ref {
					answer = keys[i]
				}
			}
		} else {
			page := adminapi.Page[adminapi.Key]{Items: keys[:1], NextCursor: "more"}
			if r.URL.Query().Get("cursor") == "more" {
				page = adminapi.Page[adminapi.Key]{Items: keys[1:]}
			}
			answer = page
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer api.Close()
	t.Setenv("EXTAUTHZ_TOKEN", "ak_live_abcdefgh")
	get := func(args ...string) string {
		t.Helper()
		text, err := printed(t, append([]string{"--server", api.URL, "keys", "get"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if text := get("ak_live_11111111"); !strings.Contains(text, "rotated to") || !strings.Contains(text, "ak_live_44444444, active") {
		t.Errorf("the rotated key:\n%s", text)
	}
	for _, prefix := range []string{"ak_live_22222222", "ak_live_44444444"} {
		if text := get(prefix); strings.Contains(text, "rotated to") {
			t.Errorf("a key without a successor:\n%s", text)
		}
	}
	if text := get("ak_live_11111111", "-o", "json"); strings.Contains(text, "44444444") {
		t.Errorf("JSON is not what the API returned:\n%s", text)
	}
}
