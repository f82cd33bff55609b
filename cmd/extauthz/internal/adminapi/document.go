package adminapi

import (
	"fmt"
	"iter"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// The tags that group operations in the document.
const (
	tagKeys           = "keys"
	tagRoles          = "roles"
	tagAdministrators = "administrators"
	tagDecisions      = "decisions"
	tagCache          = "cache"
	tagConditions     = "conditions"
	tagHistory        = "history"
)

var tags = []*huma.Tag{
	{Name: tagKeys, Description: "API keys, and the keys of users."},
	{Name: tagRoles, Description: "Named sets of scopes."},
	{Name: tagAdministrators, Description: "Who manages keys, and with which permissions."},
	{Name: tagDecisions, Description: "The loaded rules, and decisions explained."},
	{Name: tagCache, Description: "The cache of the replica that answers."},
	{Name: tagConditions, Description: "What is wrong on the replica that answers."},
	{Name: tagHistory, Description: "Usage, the audit, and the deletion of old rows."},
}

const about = `Manages API keys, roles, administrators and the cache. Send an administrator's key as ` + "`Authorization: Bearer KEY`" + `; ` +
	`what it may do is in the administrator's management roles and grants.

Refusals are problem documents (RFC 9457) with a ` + "`code`" + ` for programs. Every answer has the header ` + "`X-Request-Id`" + `. ` +
	`Unknown fields and parameters, and parameters that are given twice, are refused. HEAD is answered wherever GET is.`

// description configures huma, which makes the document from it. huma itself serves
// neither the document nor the page: it would make the document at the first request,
// without a lock, and its page loads a program from another host.
func (a *api) description(version string) huma.Config {
	h := huma.DefaultConfig("extauthz management API", version)
	h.Info.Description = about
	h.Servers = []*huma.Server{{URL: "/", Description: "The listener that this document comes from."}}
	h.Tags = tags
	h.OpenAPIPath, h.DocsPath, h.SchemasPath = "", "", ""
	h.CreateHooks = nil // no $schema links in answers
	h.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An administrator's key."}}
	h.Security = []map[string][]string{{"key": {}}}
	h.Formats = map[string]huma.Format{"application/json": strictJSON, "json": strictJSON} // "json" stands for types that end in +json
	h.Transformers = []huma.Transformer{a.complete}
	return h
}

// The statuses that any operation may answer with, and those that operations with a body
// add.
var (
	everyStatus = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity,
		http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}
	bodyStatus = []int{http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
)

// refusals returns the answers of an operation other than success.
func refusals(more []int) map[string]*huma.Response {
	responses := map[string]*huma.Response{}
	for _, status := range slices.Concat(everyStatus, more) {
		responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + refusalName(status)}
	}
	return responses
}

func refusalName(status int) string {
	return strings.ReplaceAll(http.StatusText(status), " ", "")
}

// complement adds what huma does not derive from types: the limits in the code, the
// answers that all operations share, and headers.
func complement(doc *huma.OpenAPI) error {
	schemas := doc.Components.Schemas
	delete(schemas.Map(), "ErrorModel") // huma's own form of problems, which no answer has
	delete(schemas.Map(), "ErrorDetail")
	problem := schemas.Schema(reflect.TypeFor[Problem](), true, "")
	requestID := &huma.Param{Description: "The request's id: the client's, if it was well-formed, or a new one.", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}
	doc.Components.Responses = map[string]*huma.Response{}
	for _, c := range codes {
		name := refusalName(c.status)
		response := doc.Components.Responses[name]
		if response == nil {
			response = &huma.Response{Description: http.StatusText(c.status) + ".\n", Headers: map[string]*huma.Param{requestIDHeader: requestID},
				Content: map[string]*huma.MediaType{problemType: {Schema: problem}}}
			doc.Components.Responses[name] = response
		}
		response.Description += fmt.Sprintf("\n- `%s`: %s", c.code, c.when)
	}
	doc.Components.Responses[refusalName(http.StatusUnauthorized)].Headers["WWW-Authenticate"] = &huma.Param{Description: "The scheme, Bearer.", Schema: &huma.Schema{Type: huma.TypeString}}
	doc.Components.Responses[refusalName(http.StatusTooManyRequests)].Headers["Retry-After"] = &huma.Param{Description: "Seconds.", Schema: &huma.Schema{Type: huma.TypeString}}
	for op := range operations(doc) {
		if op.RequestBody != nil {
			for _, status := range bodyStatus {
				op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + refusalName(status)}
			}
		}
		for status, response := range op.Responses {
			if response.Ref != "" {
				continue
			}
			if response.Headers == nil {
				response.Headers = map[string]*huma.Param{}
			}
			response.Headers[requestIDHeader] = requestID
			if status == "204" {
				response.Content = nil
			}
		}
	}
	dropUnused(doc)
	illustrate(doc)
	return limit(doc)
}

// dropUnused removes shared answers that no operation refers to, such as 405.
func dropUnused(doc *huma.OpenAPI) {
	used := map[string]bool{}
	for op := range operations(doc) {
		for _, r := range op.Responses {
			used[strings.TrimPrefix(r.Ref, "#/components/responses/")] = true
		}
	}
	maps.DeleteFunc(doc.Components.Responses, func(name string, _ *huma.Response) bool { return !used[name] })
}

// operations iterates over all operations of the document.
func operations(doc *huma.OpenAPI) iter.Seq[*huma.Operation] {
	return func(yield func(*huma.Operation) bool) {
		for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
			p := doc.Paths[path]
			for _, op := range []*huma.Operation{p.Get, p.Post, p.Put, p.Patch, p.Delete} {
				if op != nil && !yield(op) {
					return
				}
			}
		}
	}
}

// serveDocument serves the document in four forms. Each form is made when it is first
// requested, since that takes longer than everything else at a start. The document holds
// no secret and needs no key.
func serveDocument(mux *http.ServeMux, doc *huma.OpenAPI) {
	var making sync.Mutex // huma changes the document while it makes a form
	for _, d := range []struct {
		path, kind string
		make       func() ([]byte, error)
	}{
		{"/openapi.json", "json", doc.MarshalJSON},
		{"/openapi.yaml", "yaml", doc.YAML},
		{"/openapi-3.0.json", "json", doc.Downgrade},
		{"/openapi-3.0.yaml", "yaml", doc.DowngradeYAML},
	} {
		made := sync.OnceValues(func() ([]byte, error) {
			making.Lock()
			defer making.Unlock()
			return d.make()
		})
		mux.HandleFunc("GET "+d.path, func(w http.ResponseWriter, r *http.Request) {
			text, err := made()
			if err != nil {
				writeProblem(w, callOf(r.Context()), newProblem(CodeInternal, "the document can't be made"))
				return
			}
			w.Header().Set("Content-Type", "application/openapi+"+d.kind)
			_, _ = w.Write(text)
		})
	}
}
