package adminapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// as makes calls as another administrator.
func wantAs[T any](b *bench, token string, status int, method, path, body string) T {
	b.t.Helper()
	admin := b.admin
	b.admin = token
	defer func() { b.admin = admin }()
	return want[T](b, status, method, path, body)
}

func TestAdministrators_WholeLife(t *testing.T) {
	b := newBench(t)
	me := want[Caller](b, 200, "GET", "/v1/caller", "")
	if me.Name != "first-administrator" || me.AdministratorID == "" || strings.Join(me.Permissions, " ") != "extauthz:*" || me.Grants.Projects[0] != "*" {
		t.Errorf("caller %+v", me)
	}
	made := want[Administrator](b, 201, "POST", "/v1/administrators", `{"name":"carol@example.com","description":"d","roles":["support"],"grants":{"scopes":["orders:*"],"projects":["shop"],"users":["acme-*"]},"allowed_cidrs":["127.0.0.0/8","::1/128"],"expires_in":"90d"}`)
	if made.Key == "" || made.Status != "active" || len(made.Keys) != 1 || made.Keys[0].Status != "active" || made.CreatedBy != me.AdministratorID || made.ExpiresAt == nil || !slices.Contains(made.Permissions, "extauthz/keys:revoke") {
		t.Errorf("made %+v", made)
	}
	carol := made.Key
	if who := wantAs[Caller](b, carol, 200, "GET", "/v1/caller", ""); who.Name != made.Name || who.Grants.Users[0] != "acme-*" {
		t.Errorf("caller %+v", who)
	}
	if got := wantAs[Administrator](b, carol, 200, "GET", "/v1/administrators/carol@example.com", ""); got.ID != made.ID || got.Key != "" {
		t.Errorf("itself: %+v", got)
	}
	if status, _, answer := b.callAs(carol, "GET", "/v1/administrators", ""); status != 403 || !strings.Contains(answer, "extauthz/administrators:read") {
		t.Errorf("the others: %d %s", status, answer)
	}
	// It counts at the next call.
	path := "/v1/administrators/" + made.ID
	want[Administrator](b, 200, "PATCH", path, `{"roles":["auditor"],"expires_at":"never","allowed_cidrs":[]}`)
	if status, _, _ := b.callAs(carol, "DELETE", "/v1/keys/absent", ""); status != 403 {
		t.Errorf("a permission that was taken: %d", status)
	}
	rotated := wantAs[Administrator](b, carol, 201, "POST", path+"/rotate", "")
	if rotated.Key == "" || len(rotated.Keys) != 2 || rotated.Keys[1].ExpiresAt == nil {
		t.Errorf("rotated %+v", rotated)
	}
	wantAs[Caller](b, carol, 200, "GET", "/v1/caller", "") // in its grace
	if got := want[Administrator](b, 200, "DELETE", path+"/keys/"+rotated.Keys[1].Prefix, ""); len(got.Keys) != 1 {
		t.Errorf("after the end of the old key: %+v", got.Keys)
	}
	if status, _, answer := b.callAs(carol, "GET", "/v1/caller", ""); status != 401 || !strings.Contains(answer, "key_revoked") {
		t.Errorf("the old key: %d %s", status, answer)
	}
	want[Administrator](b, 200, "POST", path+"/disable", "")
	if status, _, answer := b.callAs(rotated.Key, "GET", "/v1/caller", ""); status != 401 || !strings.Contains(answer, "key_disabled") {
		t.Errorf("disabled: %d %s", status, answer)
	}
	want[Administrator](b, 200, "POST", path+"/enable", "")
	wantAs[Caller](b, rotated.Key, 200, "GET", "/v1/caller", "")
	at := want[Administrator](b, 201, "POST", path+"/rotate", `{"grace":"0s"}`)
	if status, _, answer := b.callAs(rotated.Key, "GET", "/v1/caller", ""); status != 401 || !strings.Contains(answer, "key_expired") || len(at.Keys) != 1 {
		t.Errorf("without grace: %d %s, %+v", status, answer, at.Keys)
	}
	if page := want[Page[Administrator]](b, 200, "GET", "/v1/administrators?limit=1", ""); len(page.Items) != 1 || page.Items[0].Name != made.Name || page.NextCursor == "" {
		t.Errorf("page %+v", page)
	} else if next := want[Page[Administrator]](b, 200, "GET", "/v1/administrators?cursor="+page.NextCursor, ""); len(next.Items) != 1 || next.Items[0].Name != "first-administrator" {
		t.Errorf("next %+v", next)
	}
	want[struct{}](b, 204, "DELETE", path+"?reason=left", "")
	if status, _, _ := b.call("GET", path, ""); status != 404 {
		t.Errorf("removed: %d", status)
	}
	history := want[Page[AuditEntry]](b, 200, "GET", "/v1/audit?administrator="+made.ID, "")
	var actions []string
	for _, e := range history.Items {
		actions = append(actions, strings.TrimPrefix(e.Action, "admin.")+" by "+e.ActorName)
	}
	const want = "remove by first-administrator, rotate by first-administrator, enable by first-administrator, disable by first-administrator, end_key by first-administrator, rotate by carol@example.com, update by first-administrator, create by first-administrator"
	if got := strings.Join(actions, ", "); got != want {
		t.Errorf("audit\n%s, want\n%s", got, want)
	}
}

func TestAdministrators_Refusals(t *testing.T) {
	b := newBench(t)
	first := want[Administrator](b, 200, "GET", "/v1/administrators/first-administrator", "")
	key := first.Keys[0].Prefix
	shop := want[Administrator](b, 201, "POST", "/v1/administrators", `{"name":"shop","roles":["owner"],"grants":{"scopes":["*:*"],"projects":["shop"]}}`)
	traffic := want[Key](b, 201, "POST", "/v1/keys", alice)
	const wide = `"grants":{"scopes":["*:*"],"projects":["*"]}`
	for name, c := range map[string]struct {
		token, method, path, body string
		code                      Code
		part                      string
	}{
		"another's key":            {traffic.Key, "GET", "/v1/caller", "", CodeForbidden, "belongs to no administrator"},
		"the last owner":           {b.admin, "DELETE", "/v1/administrators/first-administrator", "", CodeLastAdministrator, "extauthz admin recover"},
		"the last owner, disabled": {b.admin, "POST", "/v1/administrators/" + first.ID + "/disable", "", CodeLastAdministrator, "no working administrator would be left"},
		"revoked as a key":         {b.admin, "DELETE", "/v1/keys/" + key, "", CodeAdministratorKey, "first-administrator"},
		"rotated as a key":         {b.admin, "POST", "/v1/keys/" + key + "/rotate", "", CodeAdministratorKey, key},
		"revoked as a user":        {b.admin, "POST", "/v1/users/administrator/revoke", "", CodeAdministratorKey, "administrator's key"},
		"more projects":            {shop.Key, "POST", "/v1/administrators", `{"name":"a","roles":["owner"],` + wide + `}`, CodeForbidden, `the project \"*\"`},
		"out of sight":             {shop.Key, "PATCH", "/v1/administrators/first-administrator", `{"description":"x"}`, CodeNotFound, ""},
		"another of that name":     {b.admin, "POST", "/v1/administrators", `{"name":"shop","roles":["auditor"]}`, CodeConflict, "shop"},
		"no such role":             {b.admin, "POST", "/v1/administrators", `{"name":"a","roles":["king"]}`, CodeInvalidRequest, "owner, manager, support, auditor, issuer"},
		"no role":                  {b.admin, "POST", "/v1/administrators", `{"name":"a","roles":[]}`, CodeInvalidRequest, "body.roles"},
		"a name with capitals":     {b.admin, "POST", "/v1/administrators", `{"name":"Carol","roles":["auditor"]}`, CodeInvalidRequest, "body.name"},
		"two ends":                 {b.admin, "POST", "/v1/administrators", `{"name":"a","roles":["auditor"],"expires_in":"1h","expires_at":"2030-01-01T00:00:00Z"}`, CodeInvalidRequest, "body.expires_in"},
		"an end in the past":       {b.admin, "POST", "/v1/administrators", `{"name":"a","roles":["auditor"],"expires_at":"2020-01-01T00:00:00Z"}`, CodeInvalidRequest, "body.expires_at"},
		"a built-in role":          {b.admin, "PATCH", "/v1/administrator-roles/support", `{"description":"x"}`, CodeForbidden, "built in"},
		"a built-in role's name":   {b.admin, "POST", "/v1/administrator-roles", `{"name":"owner","permissions":["extauthz/keys:read"]}`, CodeInvalidRequest, "body.name"},
		"a scope for a permission": {b.admin, "POST", "/v1/administrator-roles", `{"name":"a","permissions":["orders:read"]}`, CodeInvalidRequest, "no permission"},
		"a grace too long":         {b.admin, "POST", "/v1/administrators/shop/rotate", `{"grace":"60d"}`, CodeInvalidRequest, "body.grace"},
		"another version":          {b.admin, "DELETE", "/v1/administrators/shop", "", CodePreconditionFailed, ""},
		"no such key":              {b.admin, "DELETE", "/v1/administrators/shop/keys/" + key, "", CodeNotFound, ""},
	} {
		headers := []string{}
		if c.code == CodePreconditionFailed {
			headers = append(headers, `If-Match: "99"`)
		}
		status, header, answer := b.callAs(c.token, c.method, c.path, c.body, headers...)
		if p := problemIn(t, header, answer); p.Code != c.code || !strings.Contains(answer, c.part) || status != p.Status || strings.Contains(p.Detail, "\n") {
			t.Errorf("%s: got %d %s, want %s", name, status, answer, c.code)
		}
	}
	if status, header, _ := b.call("GET", "/v1/administrator-roles/support", ""); status != http.StatusOK || header.Get("ETag") != `"0"` {
		t.Errorf("a built-in role: %d, ETag %s", status, header.Get("ETag"))
	}
	if roles := want[Page[AdministratorRole]](b, 200, "GET", "/v1/administrator-roles", ""); len(roles.Items) != 5 || !roles.Items[0].BuiltIn {
		t.Errorf("roles %+v", roles.Items)
	}
	list := want[Page[Administrator]](b, 200, "GET", "/v1/administrators?created_by="+first.ID, "")
	if len(list.Items) != 1 || list.Items[0].Name != "shop" {
		t.Errorf("made by the first: %+v", list.Items)
	}
	if names := fmt.Sprint(len(wantAs[Page[Administrator]](b, shop.Key, 200, "GET", "/v1/administrators", "").Items)); names != "1" {
		t.Errorf("a project's owner sees %s", names)
	}
}
