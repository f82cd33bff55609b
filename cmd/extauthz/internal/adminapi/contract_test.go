package adminapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"extauthz/authz"
)

// problemIn decodes an answer, which must be a complete problem document.
func problemIn(t *testing.T, header http.Header, answer string) Problem {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(answer))
	d.DisallowUnknownFields()
	var p Problem
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	if header.Get("Content-Type") != problemType || p.Title == "" || p.Detail == "" || p.RequestID == "" || p.RequestID != header.Get("X-Request-Id") {
		t.Errorf("not a whole problem: %v %s", header, answer)
	}
	if p.Code.status() != p.Status {
		t.Errorf("the code %q is not one of %d", p.Code, p.Status)
	}
	return p
}

func TestProblem_EveryRefusalHasItsCode(t *testing.T) {
	b := newBench(t)
	weak := want[Key](b, 201, "POST", "/v1/keys", alice)
	gone := want[Key](b, 201, "POST", "/v1/keys", alice)
	want[Page[Key]](b, 200, "DELETE", "/v1/keys/"+gone.ID, "")
	roles := want[Page[Role]](b, 200, "GET", "/v1/roles", "")
	if len(roles.Items) != 0 {
		t.Fatalf("got %+v", roles)
	}
	want[Role](b, 201, "POST", "/v1/roles", `{"name":"a","scopes":[]}`)
	want[Role](b, 201, "POST", "/v1/roles", `{"name":"b","scopes":[]}`)
	ofRoles := want[Page[Role]](b, 200, "GET", "/v1/roles?limit=1", "").NextCursor
	want[Key](b, 201, "POST", "/v1/keys", alice, "Idempotency-Key: once")
	for name, c := range map[string]struct {
		token, method, path, body string
		header                    string
		code                      Code
		location                  string
	}{
		"no key":                   {"", "GET", "/v1/keys", "", "", "missing_key", ""},
		"no key, no path":          {"", "GET", "/v1/nothing", "", "", "missing_key", ""},
		"nonsense":                 {"nonsense", "GET", "/v1/keys", "", "", "malformed_key", ""},
		"revoked":                  {gone.Key, "GET", "/v1/keys", "", "", "key_revoked", ""},
		"no administrator":         {weak.Key, "GET", "/v1/keys", "", "", CodeForbidden, ""},
		"no such key":              {b.admin, "GET", "/v1/keys/unknown", "", "", CodeNotFound, ""},
		"no such role":             {b.admin, "GET", "/v1/roles/unknown", "", "", CodeNotFound, ""},
		"no such path":             {b.admin, "GET", "/v1/nothing", "", "", CodeNoSuchPath, ""},
		"no such path without /v1": {"", "GET", "/nothing", "", "", CodeNoSuchPath, ""},
		"a slash at the end":       {b.admin, "GET", "/v1/keys/", "", "", CodeNoSuchPath, ""},
		"a path to be cleaned":     {b.admin, "GET", "/v1//keys", "", "", CodeNoSuchPath, ""},
		"dots in a path":           {b.admin, "GET", "/v1/roles/../keys", "", "", CodeNoSuchPath, ""},
		"another method":           {b.admin, "PUT", "/v1/keys", "", "", CodeMethodNotAllowed, ""},
		"another method on docs":   {"", "POST", "/docs", "", "", CodeMethodNotAllowed, ""},
		"garbage as a cursor":      {b.admin, "GET", "/v1/keys?cursor=garbage", "", "", CodeInvalidCursor, ""},
		"another list's cursor":    {b.admin, "GET", "/v1/keys?cursor=" + ofRoles, "", "", CodeInvalidCursor, ""},
		"a cursor for the audit":   {b.admin, "GET", "/v1/audit?cursor=garbage", "", "", CodeInvalidCursor, ""},
		"a cursor for roles":       {b.admin, "GET", "/v1/roles?cursor=a", "", "", CodeInvalidCursor, ""},
		"a cursor for usage":       {b.admin, "GET", "/v1/usage?cursor=a", "", "", CodeInvalidCursor, ""},
		"an unknown parameter":     {b.admin, "GET", "/v1/keys?user=alice", "", "", CodeInvalidRequest, "query.user"},
		"one where none is taken":  {b.admin, "GET", "/v1/cache?limit=1", "", "", CodeInvalidRequest, "query.limit"},
		"a cursor where none is":   {b.admin, "GET", "/v1/cache/invalidations?cursor=a", "", "", CodeInvalidRequest, "query.cursor"},
		"a parameter twice":        {b.admin, "GET", "/v1/keys?limit=1&limit=2", "", "", CodeInvalidRequest, "query.limit"},
		"an empty number":          {b.admin, "GET", "/v1/keys?limit=", "", "", CodeInvalidRequest, "query.limit"},
		"a number with a sign":     {b.admin, "GET", "/v1/keys?limit=%2B1", "", "", CodeInvalidRequest, "query.limit"},
		"T for true":               {b.admin, "GET", "/v1/keys?active=T", "", "", CodeInvalidRequest, "query.active"},
		"a long user":              {b.admin, "GET", "/v1/keys?user_id=" + strings.Repeat("u", maxSubject+1), "", "", CodeInvalidRequest, "query.user_id"},
		"a key and a user":         {b.admin, "GET", "/v1/usage?key_id=" + weak.ID + "&user_id=alice", "", "", CodeInvalidRequest, "query.key_id"},
		"no UTF-8":                 {b.admin, "GET", "/v1/keys?q=%ff", "", "", CodeBadRequest, ""},
		"no query":                 {b.admin, "GET", "/v1/keys?a;b", "", "", CodeInvalidRequest, "query"},
		"no JSON":                  {b.admin, "POST", "/v1/keys", `{`, "", CodeBadRequest, "body"},
		"JSON and more":            {b.admin, "POST", "/v1/keys", alice + `x`, "", CodeBadRequest, "body"},
		"a name twice":             {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","scopes":[],"scopes":["*:*"]}`, "", CodeBadRequest, "body"},
		"null for no expiry":       {b.admin, "PATCH", "/v1/keys/" + weak.ID, `{"expires_at":null}`, "", CodeInvalidRequest, "body.expires_at"},
		"null for a list":          {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","scopes":null}`, "", CodeInvalidRequest, "body.scopes"},
		"null in a list":           {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","scopes":[null]}`, "", CodeInvalidRequest, "body.scopes[0]"},
		"null for an object":       {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","metadata":null}`, "", CodeInvalidRequest, "body.metadata"},
		"null for a body":          {b.admin, "POST", "/v1/keys/" + weak.ID + "/rotate", `null`, "", CodeInvalidRequest, "body"},
		"a name in other case":     {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","Scopes":["orders:read"]}`, "", CodeInvalidRequest, "body.Scopes"},
		"body of no UTF-8":         {b.admin, "POST", "/v1/keys", "{\"user_id\":\"a\xff\",\"name\":\"b\"}", "", CodeBadRequest, "body"},
		"no body":                  {b.admin, "POST", "/v1/keys", "", "", CodeBadRequest, ""},
		"another type":             {b.admin, "POST", "/v1/keys", alice, "Content-Type: text/plain", CodeUnsupportedType, ""},
		"no type":                  {b.admin, "POST", "/v1/keys", alice, "Content-Type: ", CodeUnsupportedType, ""},
		"+json":                    {b.admin, "POST", "/v1/keys", alice, "Content-Type: application/x+json", CodeUnsupportedType, ""},
		"too much":                 {b.admin, "POST", "/v1/keys", `{"user_id":"` + strings.Repeat("a", maxBody) + `"}`, "", CodeTooLarge, ""},
		"an unknown field":         {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","colour":"red"}`, "", CodeInvalidRequest, "body.colour"},
		"too many roles":           {b.admin, "POST", "/v1/keys", `{"user_id":"a","name":"b","roles":["` + strings.Repeat(`r","`, 33) + `r"]}`, "", CodeInvalidRequest, "body.roles"},
		"a long idempotency key":   {b.admin, "POST", "/v1/keys", alice, "Idempotency-Key: " + strings.Repeat("i", 256), CodeInvalidRequest, "header.Idempotency-Key"},
		"another request":          {b.admin, "POST", "/v1/keys", strings.Replace(alice, "laptop", "desk", 1), "Idempotency-Key: once", CodeIdempotencyReuse, ""},
		"a role of that name":      {b.admin, "POST", "/v1/roles", `{"name":"a","scopes":[]}`, "", CodeConflict, ""},
		"a key that has ended":     {b.admin, "POST", "/v1/keys/" + gone.ID + "/rotate", "", "", CodeKeyEnded, ""},
		"another version":          {b.admin, "PATCH", "/v1/keys/" + weak.ID, `{"name":"x"}`, `If-Match: "99"`, CodePreconditionFailed, ""},
		"a long reason":            {b.admin, "DELETE", "/v1/keys/" + weak.ID + "?reason=" + strings.Repeat("r", 501), "", "", CodeInvalidRequest, "query.reason"},
		"a question's address":     {b.admin, "POST", "/v1/explain", `{"method":"GET","url":"/","from":"here"}`, "", CodeInvalidRequest, "body.from"},
	} {
		var headers []string
		if c.header != "" {
			headers = append(headers, c.header)
		}
		status, header, answer := b.callAs(c.token, c.method, c.path, c.body, headers...)
		p := problemIn(t, header, answer)
		if p.Code != c.code || status != p.Status {
			t.Errorf("%s: got %d %s, want %s", name, status, answer, c.code)
		}
		if c.location != "" && (len(p.Errors) == 0 || p.Errors[0].Location != c.location) {
			t.Errorf("%s: got %+v, want %s", name, p.Errors, c.location)
		}
		if (header.Get("Allow") != "") != (status == 405) || (header.Get("WWW-Authenticate") != "") != (status == 401) {
			t.Errorf("%s: got %v", name, header)
		}
	}
	if status, _, answer := b.call("POST", "/v1/keys", alice, "Content-Type: application/json; charset=utf-8", "Accept: text/html"); status != 201 {
		t.Errorf("JSON with a parameter: got %d %s", status, answer)
	}
}

// TestProblem_NeverHasWhatMayBeASecret: wherever a client puts a key by mistake, neither
// the answer nor the log contains it.
func TestProblem_NeverHasWhatMayBeASecret(t *testing.T) {
	b := newBench(t)
	own := want[Key](b, 201, "POST", "/v1/keys", alice).Key
	for _, secret := range []string{own, own[:len(own)-1] + "x", "sk-proj-9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c", "eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIxMjM0NTY3ODkwIn0", "0d2c1f6b9a8e47d3b5c6a7980123456789abcdef"} {
		for _, c := range [][3]string{
			{"POST", "/v1/keys", `{"user_id":"` + secret + `","name":"n","scopes":["x"],"expires_in":"soon"}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"` + secret + `","scopes":["x"]}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","scopes":["` + secret + `"]}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","roles":["` + secret + `"]}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","roles":["/` + secret + `"]}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","rate":"` + secret + `"}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","expires_in":"` + secret + `"}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","expires_at":"` + secret + `"}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","allowed_cidrs":["` + secret + `"]}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","environment":"` + secret + `"}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","project":"/` + secret + `"}`},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","metadata":{"/` + secret + `":"x"}}`},
			{"POST", "/v1/administrators", `{"name":"a","roles":["owner"],"grants":{"scopes":[],"projects":["/` + secret + `"]}}`},
			{"POST", "/v1/administrators", `{"name":"` + secret + `","roles":["` + secret + `"]}`},
			{"POST", "/v1/administrator-roles", `{"name":"a","permissions":["` + secret + `"]}`},
			{"GET", "/v1/administrators/" + secret, ""},
			{"DELETE", "/v1/administrators/first-administrator/keys/" + secret, ""},
			{"GET", "/v1/administrator-roles/" + secret, ""},
			{"POST", "/v1/keys", `{"user_id":"a","name":"b","` + secret + `":1}`},
			{"POST", "/v1/keys", `{"user_id":7,"name":"` + secret + `"}`},
			{"POST", "/v1/keys", `"` + secret + `"`},
			{"POST", "/v1/keys", secret},
			{"GET", "/v1/keys/" + secret, ""},
			{"GET", "/v1/keys?" + secret + "=1", ""},
			{"GET", "/v1/keys?limit=" + secret, ""},
			{"GET", "/v1/keys?cursor=" + secret, ""},
			{"GET", "/v1/keys?unused_for=" + secret, ""},
			{"GET", "/v1/roles/" + secret, ""},
			{"GET", "/" + secret, ""},
			{"GET", "/v1/" + secret, ""},
			{"GET", "/v1//" + secret, ""},
			{"POST", "/v1/explain", `{"method":"GET","url":"/","from":"` + secret + `"}`},
			{"PATCH", "/v1/keys/" + secret, `{"name":"x"}`},
		} {
			id := "X-Request-Id: " // an id may look like another product's key, so only our own keys are tried here
			if secret == own {
				id += secret
			}
			status, header, answer := b.call(c[0], c[1], c[2], id)
			if status < 400 {
				t.Errorf("%v: got %d", c, status)
			}
			problemIn(t, header, answer)
			for _, part := range []string{secret, secret[8:], secret[:len(secret)-8]} {
				if strings.Contains(answer, part) || secret == own && strings.Contains(fmt.Sprint(header), part) {
					t.Errorf("%v: got %v %s", c, header, answer)
					break
				}
			}
		}
		if strings.Contains(b.log.String(), own) {
			t.Fatal("the log has the key")
		}
	}
}

func TestRequestID_IsOnEveryAnswer(t *testing.T) {
	b := newBench(t)
	for id, kept := range map[string]bool{
		"": false, "7f3c0c5e-8f37-4a55-9d34-6ad7b1b6a111": true, "1-67891233-abcdef012345678912345678": true, "4bf92f3577b34da6a3ce929d0e0e4736": true,
		"a b": false, "a\"b": false, "é": false, strings.Repeat("i", 128): true, strings.Repeat("i", 129): false, b.admin: false, b.admin[:20]: false,
		"x-" + b.admin: false,
	} {
		for _, c := range []struct {
			token, method, path, body string
			status                    int
		}{
			{b.admin, "GET", "/v1/keys", "", 200}, {b.admin, "HEAD", "/v1/keys", "", 200}, {b.admin, "GET", "/v1/nothing", "", 404}, {b.admin, "PUT", "/v1/keys", "", 405}, {"", "GET", "/v1/keys", "", 401},
			{b.admin, "POST", "/v1/keys", strings.Repeat(" ", maxBody+1), 413}, {"", "GET", "/docs", "", 200}, {"", "GET", "/openapi.json", "", 200}, {"", "GET", "/", "", 404},
		} {
			status, header, answer := b.callAs(c.token, c.method, c.path, c.body, "X-Request-Id: "+id)
			got := header.Values("X-Request-Id")
			if status != c.status || len(got) != 1 || (got[0] == id) != kept || !requestIDForm.MatchString(got[0]) {
				t.Errorf("%q: %s %s: got %d %q", id, c.method, c.path, status, got)
			}
			if status >= 400 {
				if p := problemIn(t, header, answer); !strings.Contains(b.log.String(), p.RequestID) {
					t.Errorf("%q: %s %s: the log has no line with %q", id, c.method, c.path, p.RequestID)
				}
			}
		}
	}
	want[Key](b, 201, "POST", "/v1/keys", alice, "X-Request-Id: mine")
	if entries := want[Page[AuditEntry]](b, 200, "GET", "/v1/audit?limit=1", "").Items; entries[0].RequestID != "mine" {
		t.Errorf("the audit has %+v", entries)
	}
}

func TestBody_OfExactlyTheLimitIsTaken(t *testing.T) {
	b := newBench(t)
	body := alice + strings.Repeat(" ", maxBody-len(alice))
	if status, _, answer := b.call("POST", "/v1/keys", body); status != 201 {
		t.Errorf("got %d %s", status, answer)
	}
	if status, _, _ := b.call("POST", "/v1/keys", body+" "); status != 413 {
		t.Errorf("one byte more: got %d", status)
	}
}

func TestPanic_IsAProblem(t *testing.T) {
	b := newBench(t)
	a := b.api
	handler := a.numbered(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("at the disco") }))
	w := newRecorder(t, handler, "GET", "/v1/keys")
	p := problemIn(t, w.Header(), w.Body.String())
	if w.Code != 500 || p.Code != CodeInternal || strings.Contains(w.Body.String(), "disco") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if log := b.log.String(); !strings.Contains(log, p.RequestID) || !strings.Contains(log, "disco") {
		t.Errorf("the log has %s", log)
	}
}

func TestHead_IsAnsweredWhereGetIs(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/v1/keys", "/v1/cache", "/openapi.yaml", "/docs", "/docs/swagger-ui.css"} {
		status, header, answer := b.call("HEAD", path, "")
		if status != 200 || answer != "" || header.Get("Content-Type") == "" {
			t.Errorf("%s: got %d %v %q", path, status, header, answer)
		}
	}
	if status, header, _ := b.call("HEAD", "/v1/explain", ""); status != 405 || header.Get("Allow") != "POST" {
		t.Errorf("got %d %v", status, header)
	}
}

// TestDocs_LoadsNothingFromElsewhere: the page works offline, and runs only its own
// scripts.
func TestDocs_LoadsNothingFromElsewhere(t *testing.T) {
	b := newBench(t)
	status, header, page := b.callAs("", "GET", "/docs", "")
	policy := header.Get("Content-Security-Policy")
	if status != 200 || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("got %d %v", status, header)
	}
	if strings.Contains(page, "://") || regexp.MustCompile(`<script[^>]*>[^<]|<style|style=| on[a-z]+=`).MatchString(page) {
		t.Errorf("the page has %s", page)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(page, -1) {
		packed, header, _ := b.callAs("", "GET", m[1], "", "Accept-Encoding: gzip")
		if packed != 200 {
			t.Errorf("%s: got %d", m[1], packed)
		}
		if again, _, _ := b.callAs("", "GET", m[1], "", "Accept-Encoding: gzip", "If-None-Match: "+header.Get("ETag")); header.Get("ETag") != "" && again != 304 {
			t.Errorf("%s again: got %d", m[1], again)
		}
	}
	_, zipped, body := b.callAs("", "GET", "/docs/swagger-ui.css", "", "Accept-Encoding: gzip")
	_, plainly, plain := b.callAs("", "GET", "/docs/swagger-ui.css", "", "Accept-Encoding: identity")
	z, err := gzip.NewReader(bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil || string(unpacked) != plain || plainly.Get("Content-Encoding") != "" || zipped.Get("ETag") == plainly.Get("ETag") {
		t.Errorf("packed and plain differ: %v %v %v", err, zipped, plainly)
	}
}

func TestCodes_AreOnesOfTheReasonsThatRefuseKeys(t *testing.T) {
	for _, r := range []authz.Reason{authz.ReasonMissing, authz.ReasonMalformed, authz.ReasonUnknown, authz.ReasonWrongSecret, authz.ReasonDisabled, authz.ReasonRevoked, authz.ReasonExpired, authz.ReasonNetwork, authz.ReasonAmbiguous, authz.ReasonThrottled} {
		if reasonCode(r).status() != r.Status() {
			t.Errorf("%s is no code of %d", r.Code(), r.Status())
		}
	}
	seen := map[Code]bool{}
	for _, c := range codes {
		if seen[c.code] {
			t.Errorf("%s is listed twice", c.code)
		}
		seen[c.code] = true
	}
}

// TestCodes_AreInTheDocumentation: docs/api.md contains the table of codes, row by row.
func TestCodes_AreInTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for _, c := range codes {
		fmt.Fprintf(&rows, "| `%s` | %d | %s |\n", c.code, c.status, c.when)
	}
	if !strings.Contains(string(page), "\n| code | status | when |\n|---|---|---|\n"+rows.String()+"\n") {
		t.Errorf("docs/api.md lacks this table of codes:\n%s", rows.String())
	}
}

// TestDescription_NamesThePermissionThatIsNeeded: the description of every operation names
// its permission, and a refusal of an administrator without it names it too.
func TestDescription_NamesThePermissionThatIsNeeded(t *testing.T) {
	b := newBench(t)
	want[AdministratorRole](b, 201, "POST", "/v1/administrator-roles", `{"name":"none","permissions":["extauthz/shadow:update"]}`)
	weak := want[Administrator](b, 201, "POST", "/v1/administrators", `{"name":"weak","roles":["none"],"grants":{"scopes":["*:*"],"projects":["*"]}}`)
	key := want[Key](b, 201, "POST", "/v1/keys", alice)
	_, _, text := b.callAs("", "GET", "/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Description string
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{"create-key": alice, "update-key": `{}`, "create-role": `{"name":"r","scopes":[]}`, "update-role": `{}`,
		"purge-records": `{}`, "explain-request": `{"method":"GET","url":"/"}`, "invalidate-cache": `{"all":true}`, "warm-cache": `{}`,
		"create-administrator": `{"name":"new","roles":["none"]}`, "update-administrator": `{}`, "create-administrator-role": `{"name":"r","permissions":["extauthz/shadow:update"]}`, "update-administrator-role": `{}`}
	named := strings.NewReplacer("{id}", key.ID, "{user_id}", "alice", "{name}", "r", "{administrator}", "first-administrator", "{key}", "k")
	calls := 0
	for path, operations := range doc.Paths {
		for method, op := range operations {
			calls++
			if op.OperationID == "get-caller" {
				continue
			}
			scope := regexp.MustCompile("`(extauthz/[a-z:-]+)`").FindStringSubmatch(op.Description)
			if scope == nil || !regexp.MustCompile(`^[a-z]+-[a-z-]+$`).MatchString(op.OperationID) {
				t.Errorf("%s %s is described as %+v", method, path, op)
				continue
			}
			status, header, answer := b.callAs(weak.Key, strings.ToUpper(method), named.Replace(path), bodies[op.OperationID])
			if p := problemIn(t, header, answer); status != 403 || p.Code != CodeForbidden || !strings.Contains(p.Detail, scope[1]) {
				t.Errorf("%s: got %d %s, want 403 with %s", op.OperationID, status, answer, scope[1])
			}
		}
	}
	if calls < 27 {
		t.Errorf("%d operations were called", calls)
	}
}
