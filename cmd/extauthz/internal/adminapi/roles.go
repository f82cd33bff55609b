package adminapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// RoleRef names a role.
type RoleRef struct {
	Name string `path:"name" doc:"A role's name."`
}

type roleAnswer struct {
	ETag string `header:"ETag"`
	Body Role
}

func answerRole(r authz.Role, err error) (*roleAnswer, error) {
	return &roleAnswer{ETag: etag(r.Version), Body: roleOf(r)}, err
}

// NewRole is a request to create a role.
type NewRole struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Scopes      []string `json:"scopes"`
}

// RolePatch is a change of a role. Absent fields stay as they are.
type RolePatch struct {
	Description *string   `json:"description,omitempty"`
	Scopes      *[]string `json:"scopes,omitempty"`
}

type newRoleInput struct{ Body NewRole }

type rolePatchInput struct {
	RoleRef
	IfMatch string `header:"If-Match" doc:"The ETag that was read; another version is 412."`
	Body    RolePatch
}

type roleDeletion struct {
	RoleRef
	IfMatch string `header:"If-Match" doc:"The ETag that was read; another version is 412."`
}

type rolesAnswer struct{ Body Page[Role] }

func (a *api) registerRoles(h huma.API) {
	register(a, h, http.MethodPost, "/v1/roles", operation{tagRoles, keyring.CreateRoles, "create-role", "Create a role", http.StatusCreated, []int{409}},
		func(ctx context.Context, p keyring.Principal, in *newRoleInput) (*roleAnswer, error) {
			var f fields
			role := authz.Role{Name: in.Body.Name, Description: in.Body.Description, Scopes: parse(&f, "scopes", in.Body.Scopes, authz.ParseScopes)}
			if err := f.err(); err != nil {
				return nil, err
			}
			return answerRole(a.keys.CreateRole(ctx, p, role))
		})
	register(a, h, http.MethodGet, "/v1/roles", operation{tagRoles, keyring.ReadRoles, "list-roles", "List roles by name", 0, nil},
		func(ctx context.Context, p keyring.Principal, in *Paging) (*rolesAnswer, error) {
			after, err := in.after(roleCursor)
			if err != nil {
				return nil, err
			}
			roles, err := a.keys.ListRoles(ctx, p, after, in.Limit)
			if err != nil {
				return nil, err
			}
			out := &rolesAnswer{Body: Page[Role]{Items: make([]Role, len(roles))}}
			for i, r := range roles {
				out.Body.Items[i] = roleOf(r)
			}
			if len(roles) == in.Limit {
				out.Body.NextCursor = cursorOf(roleCursor, roles[len(roles)-1].Name)
			}
			return out, nil
		})
	register(a, h, http.MethodGet, "/v1/roles/{name}", operation{tagRoles, keyring.ReadRoles, "get-role", "Show a role", 0, []int{404, 409}},
		func(ctx context.Context, p keyring.Principal, in *RoleRef) (*roleAnswer, error) {
			return answerRole(a.keys.GetRole(ctx, p, in.Name))
		})
	register(a, h, http.MethodPatch, "/v1/roles/{name}", operation{tagRoles, keyring.UpdateRoles, "update-role", "Change a role, at once for all keys that have it", 0, []int{404, 409, 412}},
		func(ctx context.Context, p keyring.Principal, in *rolePatchInput) (*roleAnswer, error) {
			version, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			var f fields
			patch := keyring.RolePatch{Description: in.Body.Description, IfVersion: version}
			if in.Body.Scopes != nil {
				s := parse(&f, "scopes", *in.Body.Scopes, authz.ParseScopes)
				patch.Scopes = &s
			}
			if err := f.err(); err != nil {
				return nil, err
			}
			return answerRole(a.keys.UpdateRole(ctx, p, in.Name, patch))
		})
	register(a, h, http.MethodDelete, "/v1/roles/{name}", operation{tagRoles, keyring.DeleteRoles, "delete-role", "Delete a role; it grants nothing from now on", http.StatusNoContent, []int{404, 409, 412}},
		func(ctx context.Context, p keyring.Principal, in *roleDeletion) (*struct{}, error) {
			version, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			return nil, a.keys.DeleteRole(ctx, p, in.Name, version)
		})
}
