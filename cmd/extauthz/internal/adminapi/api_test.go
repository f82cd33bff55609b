package adminapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
	"extauthz/cachesvc"
	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/models"
)

// bench is an API with a real keys service, authorizer, cache and database (an empty
// SQLite).
type bench struct {
	t     *testing.T
	http  *httptest.Server
	api   *api
	admin string
	log   *bytes.Buffer
	sql   func(query string, args ...any)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{t: t, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	file := filepath.Join(t.TempDir(), "test.db")
	db, err := models.Open(t.Context(), models.Config{Driver: models.SQLite, DSN: file})
	must(err)
	b.sql = func(query string, args ...any) {
		t.Helper()
		plain, err := sql.Open("sqlite", file)
		must(err)
		_, err = plain.ExecContext(t.Context(), query, args...)
		must(err)
		must(plain.Close())
	}
	must(db.Migrate(t.Context()))
	// The time limits of a check's look-up are not what is tested here, and a busy machine's
	// disk exceeds them.
	const ample = 10 * time.Second
	cache, err := cachesvc.New(cachesvc.Config{Database: db, Registerer: prometheus.NewRegistry(), Lease: ample, FlightBudget: ample, LookupWait: ample})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	<-cache.Ready()
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	must(err)
	peppers, err := authz.NewPeppers(nil)
	must(err)
	mapping, err := authz.NewDefaultMap(nil)
	must(err)
	authorizer, err := authz.New(authz.Config{Format: format, Peppers: peppers, Sources: []authz.CredentialSource{{Kind: authz.SourceHeader, Name: "x-api-key"}},
		DefaultRoute: authz.DefaultRouteMap, DefaultMap: mapping, Validator: cache, Now: cache.Now})
	must(err)
	keys, err := keyring.New(keyring.Config{Format: format, Peppers: func() *authz.Peppers { return peppers }, Random: rand.Reader, Now: cache.Now,
		Store: db, Notifier: cache, Lists: cache, Logger: log})
	must(err)
	admins, err := administrators.New(administrators.Config{Format: format, Peppers: func() *authz.Peppers { return peppers }, Random: rand.Reader, Now: cache.Now,
		Store: db, Notifier: cache, Logger: log})
	must(err)
	first, _, err := admins.Bootstrap(t.Context(), authz.Secret{})
	must(err)
	b.admin = first.Key.Reveal()
	handler, err := New(Config{Keys: keys, Administrators: admins, Authorizer: func() *authz.Authorizer { return authorizer }, Cache: cache, Conditions: func() []conditions.Condition { return []conditions.Condition{} }, Logger: log, Version: "test"})
	must(err)
	b.api = &api{keys: keys, administrators: admins, authorizer: func() *authz.Authorizer { return authorizer }, cache: cache, log: log}
	b.http = httptest.NewServer(handler)
	t.Cleanup(func() {
		b.http.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		must(db.Close())
		if strings.Contains(b.log.String(), b.admin[len("ak_live_12345678_"):]) {
			t.Error("the log holds a key")
		}
	})
	return b
}

// call makes a call as the administrator, and returns status, headers and body.
func (b *bench) call(method, path, body string, headers ...string) (int, http.Header, string) {
	b.t.Helper()
	return b.callAs(b.admin, method, path, body, headers...)
}

func (b *bench) callAs(token, method, path, body string, headers ...string) (int, http.Header, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.http.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(answer)
}

// newRecorder calls a handler without a server, and returns its answer.
func newRecorder(t *testing.T, h http.Handler, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w
}

// want makes a call, checks its status, and decodes the answer.
func want[T any](b *bench, status int, method, path, body string, headers ...string) (out T) {
	b.t.Helper()
	got, _, answer := b.call(method, path, body, headers...)
	if got != status {
		b.t.Fatalf("%s %s: got %d %s, want %d", method, path, got, answer, status)
	}
	if answer != "" {
		if err := json.Unmarshal([]byte(answer), &out); err != nil {
			b.t.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
	return out
}

const alice = `{"user_id":"alice","name":"laptop","scopes":["orders:read"]}`

func TestKeys_SecretIsShownOnce(t *testing.T) {
	b := newBench(t)
	k := want[Key](b, 201, "POST", "/v1/keys", alice)
	if k.Key == "" || !strings.HasPrefix(k.Key, k.Prefix) || k.Status != "active" {
		t.Fatalf("got %+v", k)
	}
	secret := k.Key[len(k.Prefix)+1:]
	for _, call := range [][2]string{{"GET", "/v1/keys/" + k.ID}, {"GET", "/v1/keys/" + k.Prefix}, {"GET", "/v1/keys"}, {"GET", "/v1/users/alice/keys?usage=true"},
		{"GET", "/v1/audit"}, {"POST", "/v1/keys/" + k.ID + "/disable"}, {"POST", "/v1/keys/" + k.ID + "/enable"}, {"GET", "/v1/keys/" + k.ID + "/usage"},
		{"GET", "/v1/usage"}, {"GET", "/v1/cache"}, {"GET", "/v1/cache/invalidations"}, {"DELETE", "/v1/keys/" + k.ID}} {
		status, header, answer := b.call(call[0], call[1], "")
		if status != 200 || strings.Contains(answer, secret) || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: got %d %v %s", call, status, header, answer)
		}
	}
	if strings.Contains(b.log.String(), secret) {
		t.Error("the log holds the key")
	}
}

func TestAPI_RefusalNamesItsReason(t *testing.T) {
	b := newBench(t)
	weak := want[Key](b, 201, "POST", "/v1/keys", alice)
	issuer := want[Administrator](b, 201, "POST", "/v1/administrators", `{"name":"issuer","roles":["issuer"]}`)
	for name, c := range map[string]struct {
		token, method, path, body string
		status                    int
		says                      string
	}{
		"no token":         {"", "GET", "/v1/keys", "", 401, "Bearer"},
		"no key":           {"nonsense", "GET", "/v1/keys", "", 401, "malformed_key"},
		"no administrator": {weak.Key, "GET", "/v1/keys", "", 403, "belongs to no administrator"},
		"no explanations":  {issuer.Key, "POST", "/v1/explain", `{"method":"GET","url":"/orders"}`, 403, "extauthz/explain:create"},
		"not found":        {b.admin, "GET", "/v1/keys/unknown", "", 404, "not found"},
		"no such path":     {b.admin, "GET", "/v1/nothing", "", 404, ""},
		"bad scope":        {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","scopes":["orders"]}`, 422, "resource:action"},
		"several faults":   {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","scopes":["orders"],"rate":"fast"}`, 422, "body.rate"},
		"no user":          {b.admin, "POST", "/v1/keys", `{"user_id":"","name":"b"}`, 422, "user_id"},
		"unknown field":    {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","colour":"red"}`, 422, "colour"},
		"no JSON":          {b.admin, "POST", "/v1/keys", `{`, 400, ""},
		"past expiry":      {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","expires_at":"2001-01-01T00:00:00Z"}`, 422, "expires_at"},
		"reserved scope":   {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","scopes":["extauthz:*"]}`, 422, "admins create"},
		"no such role":     {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","roles":["none"]}`, 422, "role"},
		"page of nothing":  {b.admin, "GET", "/v1/keys?limit=0", "", 422, "limit"},
	} {
		status, header, answer := b.callAs(c.token, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s: got %d %s, want %d with %q", name, status, answer, c.status, c.says)
		}
		if status == 401 && header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without a challenge", name)
		}
	}
}

func TestKeys_UnstorableReferenceIsTheCallersFault(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/v1/keys?user_id=%00", "/v1/keys?q=%ff", "/v1/users/%ff/keys", "/v1/audit?actor=%00", "/v1/roles?cursor=%00"} {
		if status, _, answer := b.call("GET", path, ""); status != 400 || !strings.Contains(answer, "bad_request") {
			t.Errorf("%s: got %d %s", path, status, answer)
		}
	}
}

func TestKeys_UpdateRespectsIfMatch(t *testing.T) {
	b := newBench(t)
	k := want[Key](b, 201, "POST", "/v1/keys", alice)
	_, header, _ := b.call("GET", "/v1/keys/"+k.ID, "")
	tag := header.Get("ETag")
	changed := want[Key](b, 200, "PATCH", "/v1/keys/"+k.ID, `{"name":"desk","expires_at":"never","scopes":["orders:*"]}`, "If-Match: "+tag)
	if changed.Name != "desk" || changed.Version <= k.Version || changed.Scopes[0] != "orders:*" {
		t.Errorf("got %+v", changed)
	}
	if status, _, answer := b.call("PATCH", "/v1/keys/"+k.ID, `{"name":"late"}`, "If-Match: "+tag); status != 412 {
		t.Errorf("got %d %s", status, answer)
	}
	if got := want[Key](b, 200, "GET", "/v1/keys/"+k.ID, ""); got.Name != "desk" {
		t.Errorf("got %+v", got)
	}
}

func TestKeys_IdempotencyKeyCreatesOnce(t *testing.T) {
	b := newBench(t)
	first := want[Key](b, 201, "POST", "/v1/keys", alice, "Idempotency-Key: a")
	again := want[Key](b, 201, "POST", "/v1/keys", alice, "Idempotency-Key: a")
	if again.ID != first.ID || again.Key != "" || !again.Replayed {
		t.Errorf("got %+v", again)
	}
	if status, _, _ := b.call("POST", "/v1/keys", strings.Replace(alice, "laptop", "desk", 1), "Idempotency-Key: a"); status != 422 {
		t.Errorf("another request under the same key: got %d", status)
	}
}

func TestKeys_RotationAndRevocationOfAFamily(t *testing.T) {
	b := newBench(t)
	k := want[Key](b, 201, "POST", "/v1/keys", alice)
	r := want[Rotated](b, 201, "POST", "/v1/keys/"+k.Prefix+"/rotate", `{"grace":"1h"}`)
	if r.Key.Key == "" || r.ID == k.ID || r.Status != "active" || r.Old.ID != k.ID || r.Old.ExpiresAt == nil || r.Family != k.Family || r.Old.Key != "" {
		t.Fatalf("got %+v", r)
	}
	if status, _, answer := b.call("POST", "/v1/keys/"+k.ID+"/rotate", ""); status != 409 {
		t.Errorf("a rotated key was rotated: %d %s", status, answer)
	}
	gone := want[Page[Key]](b, 200, "DELETE", "/v1/keys/"+r.ID+"?reason=leaked", "")
	if len(gone.Items) != 2 || gone.Items[0].Status != "revoked" || gone.Items[1].Status != "revoked" {
		t.Errorf("got %+v", gone)
	}
	if status, _, _ := b.call("POST", "/v1/keys/"+k.ID+"/enable", ""); status != 409 {
		t.Errorf("a revoked key was enabled: %d", status)
	}
}

func TestKeys_ListsHaveEveryKeyOnce(t *testing.T) {
	b := newBench(t)
	made := map[string]bool{}
	for i := range 7 {
		made[want[Key](b, 201, "POST", "/v1/keys", fmt.Sprintf(`{"user_id":"bob","name":"k%d"}`, i)).ID] = true
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		page := want[Page[Key]](b, 200, "GET", "/v1/keys?user_id=bob&limit=3&cursor="+cursor, "")
		for _, k := range page.Items {
			if seen[k.ID] || !made[k.ID] {
				t.Fatalf("%s twice, or not bob's", k.ID)
			}
			seen[k.ID] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if len(seen) != len(made) {
		t.Errorf("%d of %d", len(seen), len(made))
	}
	if got := want[Page[Key]](b, 200, "POST", "/v1/users/bob/revoke", ""); len(got.Items) != len(made) {
		t.Errorf("%d revoked", len(got.Items))
	}
	if got := want[Page[Key]](b, 200, "GET", "/v1/keys?user_id=bob&active=true", ""); len(got.Items) != 0 {
		t.Errorf("%d are still good", len(got.Items))
	}
}

// TestLists_ShowRowsThatCanNotBeRead: an unreadable row does not make a list fail, and a
// request for that row reports the faulty column.
func TestLists_ShowRowsThatCanNotBeRead(t *testing.T) {
	b := newBench(t)
	good := want[Key](b, 201, "POST", "/v1/keys", `{"user_id":"u","name":"good","scopes":["orders:read"]}`)
	bad := want[Key](b, 201, "POST", "/v1/keys", `{"user_id":"u","name":"bad","scopes":["orders:read"]}`)
	want[Role](b, 201, "POST", "/v1/roles", `{"name":"r","scopes":["orders:read"]}`)
	b.sql(`UPDATE api_keys SET scopes = 'orders:read' WHERE id = ?`, bad.ID)
	b.sql(`UPDATE roles SET scopes = 'orders:read'`)
	for _, path := range []string{"/v1/keys?user_id=u", "/v1/keys?user_id=u&usage=true", "/v1/users/u/keys"} {
		page := want[Page[Key]](b, 200, "GET", path, "")
		if len(page.Items) != 2 || page.Items[0].ID != bad.ID || page.Items[0].Status != "unreadable" || !strings.HasPrefix(page.Items[0].Unreadable, "column scopes: ") ||
			page.Items[1].ID != good.ID || page.Items[1].Status != "active" || page.Items[1].Unreadable != "" {
			t.Errorf("%s: got %+v", path, page.Items)
		}
	}
	if roles := want[Page[Role]](b, 200, "GET", "/v1/roles", "").Items; len(roles) != 1 || roles[0].Unreadable == "" {
		t.Errorf("got %+v", roles)
	}
	for path, method := range map[string]string{"/v1/keys/" + bad.ID: "PATCH", "/v1/keys/" + bad.ID + "/rotate": "POST", "/v1/keys/" + bad.ID + "/enable": "POST"} {
		if status, _, body := b.call(method, path, `{}`); status != 409 || !strings.Contains(body, bad.Prefix+": column scopes") {
			t.Errorf("%s: got %d %s", path, status, body)
		}
	}
	if k := want[Key](b, 200, "GET", "/v1/keys/"+bad.ID, ""); k.Status != "unreadable" || k.Unreadable == "" {
		t.Errorf("by its id: %+v", k)
	}
	b.sql(`UPDATE api_keys SET scopes = '["orders:read"]' WHERE id = ?`, bad.ID)
	if page := want[Page[Key]](b, 200, "GET", "/v1/users/u/keys", ""); page.Items[0].Status != "active" {
		t.Errorf("after the row was fixed: got %+v", page.Items[0])
	}
	b.sql(`UPDATE api_keys SET scopes = 'orders:read' WHERE id = ?`, bad.ID)
	if page := want[Page[Key]](b, 200, "DELETE", "/v1/keys/"+bad.Prefix, ""); len(page.Items) != 1 || page.Items[0].Status != "revoked" || page.Items[0].Unreadable == "" {
		t.Errorf("revoked: got %+v", page.Items)
	}
	if page := want[Page[Key]](b, 200, "POST", "/v1/users/u/revoke", ""); len(page.Items) != 2 || page.Items[1].Status != "revoked" {
		t.Errorf("the user's: got %+v", page.Items)
	}
}

func TestRoles_ChangeAppliesToKeysAtOnce(t *testing.T) {
	b := newBench(t)
	want[Role](b, 201, "POST", "/v1/roles", `{"name":"reader","scopes":["orders:read"]}`)
	k := want[Key](b, 201, "POST", "/v1/keys", `{"user_id":"carol","name":"n","roles":["reader"]}`)
	explain := fmt.Sprintf(`{"method":"GET","url":"https://api.example.com/orders/1","key":%q}`, k.Key)
	if a := want[Explanation](b, 200, "POST", "/v1/explain", explain); !a.Allowed {
		t.Fatalf("got %+v", a)
	}
	want[Role](b, 200, "PATCH", "/v1/roles/reader", `{"scopes":["invoices:read"]}`)
	if a := want[Explanation](b, 200, "POST", "/v1/explain", explain); a.Allowed || a.Code != "scope_missing" || len(a.Steps) == 0 {
		t.Errorf("got %+v", a)
	}
	want[struct{}](b, 204, "DELETE", "/v1/roles/reader", "")
	if got := want[Page[Role]](b, 200, "GET", "/v1/roles", ""); len(got.Items) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestCache_CanBeInspectedAndEmptied(t *testing.T) {
	b := newBench(t)
	k := want[Key](b, 201, "POST", "/v1/keys", alice)
	want[Explanation](b, 200, "POST", "/v1/explain", fmt.Sprintf(`{"method":"GET","url":"/orders","key":%q}`, k.Key))
	if f := want[CacheFigures](b, 200, "GET", "/v1/cache", ""); f.State != "serving" || len(f.Statistics.Layers) == 0 {
		t.Errorf("got %+v", f)
	}
	if got := want[map[string]any](b, 200, "POST", "/v1/cache/invalidate", `{"key":"`+k.Prefix+`","reason":"test"}`); got["dropped"] != 1.0 {
		t.Errorf("got %v", got)
	}
	list := want[Page[Invalidation]](b, 200, "GET", "/v1/cache/invalidations", "")
	if len(list.Items) == 0 || list.Items[0].Reason != "test" {
		t.Errorf("got %+v", list)
	}
	if status, _, _ := b.call("POST", "/v1/cache/invalidate", `{}`); status != 422 {
		t.Errorf("nothing named: got %d", status)
	}
}

func TestOpenAPI_DescribesWhatIsServed(t *testing.T) {
	b := newBench(t)
	_, _, text := b.callAs("", "GET", "/openapi.json", "")
	var doc struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/keys", "/v1/keys/{id}", "/v1/keys/{id}/rotate", "/v1/users/{user_id}/keys", "/v1/roles/{name}", "/v1/explain", "/v1/cache", "/v1/audit", "/v1/usage", "/v1/routes"} {
		if doc.Paths[path] == nil {
			t.Errorf("%s is missing", path)
		}
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("it is OpenAPI %s", doc.OpenAPI)
	}
}
