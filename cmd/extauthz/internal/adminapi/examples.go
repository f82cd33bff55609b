package adminapi

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
)

// example is what the document shows of an operation: a request that works, and its
// answer if that is not obvious. Both are values of the API's own types, so a field that
// is renamed or removed can't stay in the document.
type example struct{ request, answer any }

// exampleTime is the time in answers. It is fixed, so that the document is the same at
// each start.
var exampleTime = time.Date(2026, time.November, 2, 9, 30, 0, 0, time.UTC)

// examples holds the examples of the main operations, by operation id.
var examples = map[string]example{
	"create-key": {
		NewKey{UserID: "alice", Name: "laptop", Scopes: []string{"orders:read"}, ExpiresIn: "30d", Rate: "100/s"},
		Key{ID: "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e0f", Key: "ak_live_4fJ9xQ2b_SECRET", Prefix: "ak_live_4fJ9xQ2b", UserID: "alice", Name: "laptop",
			Scopes: []string{"orders:read"}, Roles: []string{}, Status: "active", IsActive: true, ExpiresAt: new(exampleTime.AddDate(0, 0, 30)),
			CreatedAt: exampleTime, UpdatedAt: exampleTime, Environment: "live", Rate: "100/s", Family: "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e0f", Version: 1},
	},
	"update-key": {request: KeyPatch{Scopes: &[]string{"orders:read", "invoices:read"}, ExpiresAt: new("90d")}},
	"rotate-key": {request: Rotation{Grace: "7d"}},
	"create-role": {request: NewRole{Name: "reader", Description: "Reads orders and invoices",
		Scopes: []string{"orders:read", "invoices:read"}}},
	"update-role": {request: RolePatch{Scopes: &[]string{"orders:read"}}},
	"create-administrator": {
		NewAdministrator{Name: "carol@example.com", Roles: []string{"support"}, Grants: &Grants{Scopes: []string{"orders:*"}, Projects: []string{"shop"}}, ExpiresIn: "90d"},
		Administrator{ID: "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e10", Key: "ak_live_7gT2mR5d_SECRET", Name: "carol@example.com", Roles: []string{"support"},
			Permissions: []string{"extauthz/keys:read", "extauthz/keys:revoke"}, Grants: Grants{Scopes: []string{"orders:*"}, Projects: []string{"shop"}},
			Status: "active", ExpiresAt: new(exampleTime.AddDate(0, 0, 90)), Keys: []AdministratorKey{{ID: "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e11", Prefix: "ak_live_7gT2mR5d",
				Status: "active", CreatedAt: exampleTime, ExpiresAt: new(exampleTime.AddDate(0, 0, 90))}},
			CreatedBy: "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e01", CreatedAt: exampleTime, UpdatedAt: exampleTime, Version: 1},
	},
	"update-administrator":      {request: AdministratorPatch{Roles: &[]string{"support", "issuer"}}},
	"rotate-administrator":      {request: AdministratorRotation{Grace: "0s"}},
	"create-administrator-role": {request: NewAdministratorRole{Name: "revoker", Description: "Finds and revokes keys", Permissions: []string{"extauthz/keys:read", "extauthz/keys:revoke"}}},
	"update-administrator-role": {request: AdministratorRolePatch{Permissions: &[]string{"extauthz/keys:read"}}},
	"explain-request": {
		ExplainRequest{Method: "DELETE", URL: "https://api.example.com/orders/42", From: "203.0.113.7"},
		Explanation{Reason: authz.ReasonMissing.String(), Code: authz.ReasonMissing.String(), Status: 401, Detail: authz.ReasonMissing.Detail(),
			Resource: "orders", Action: "delete", Steps: []authz.Step{
				{Name: "path", Outcome: "judged as", Detail: "/orders/42"}, {Name: "route", Outcome: "default", Detail: "orders:delete"},
				{Name: "credential", Outcome: "missing", Detail: "looked in header x-api-key"}}},
	},
	"invalidate-cache": {request: CacheEntries{User: "alice", Reason: "changed by SQL"}},
	"warm-cache":       {request: Warming{Keys: 100000}},
	"purge-records":    {request: Purge{DryRun: true, RevokedFor: "90d", ExpiredFor: "180d"}},
}

// illustrate adds the examples to the document.
func illustrate(doc *huma.OpenAPI) {
	for op := range operations(doc) {
		shown := examples[op.OperationID]
		if op.RequestBody != nil && shown.request != nil {
			for _, content := range op.RequestBody.Content {
				content.Example = shown.request
			}
		}
		for status, response := range op.Responses {
			if status[0] != '2' || shown.answer == nil {
				continue
			}
			for _, content := range response.Content {
				content.Example = shown.answer
			}
		}
	}
}
