package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

// AdministratorRole is a management role.
type AdministratorRole struct {
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Permissions []string   `json:"permissions"`
	BuiltIn     bool       `json:"built_in"`
	Unreadable  string     `json:"unreadable,omitempty" doc:"What is wrong with the role's row in the database. It permits nothing until the row is fixed."`
	CreatedAt   *time.Time `json:"created_at,omitempty"`
	UpdatedAt   *time.Time `json:"updated_at,omitempty"`
	Version     uint64     `json:"version,omitempty"`
}

// NewAdministratorRole asks for a management role.
type NewAdministratorRole struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Permissions []string `json:"permissions" doc:"Such as extauthz/keys:read, or extauthz/keys:* for all of a kind."`
}

// AdministratorRolePatch changes a management role; what is absent stays as it is.
type AdministratorRolePatch struct {
	Description *string   `json:"description,omitempty"`
	Permissions *[]string `json:"permissions,omitempty"`
}

func administratorRoleOf(r authz.AdministratorRole) AdministratorRole {
	return AdministratorRole{Name: r.Name, Description: r.Description, Permissions: r.Permissions.Strings(), BuiltIn: r.Version == 0,
		Unreadable: r.Unreadable, CreatedAt: instant(r.CreatedAt), UpdatedAt: instant(r.UpdatedAt), Version: r.Version}
}

type administratorRoleAnswer struct {
	ETag string `header:"ETag"`
	Body AdministratorRole
}

func answerAdministratorRole(r authz.AdministratorRole, err error) (*administratorRoleAnswer, error) {
	return &administratorRoleAnswer{ETag: etag(r.Version), Body: administratorRoleOf(r)}, err
}

type administratorRolesAnswer struct{ Body Page[AdministratorRole] }

// AdministratorRoleRef names a management role.
type AdministratorRoleRef struct {
	Name string `path:"name" doc:"A management role's name."`
}

type newAdministratorRoleInput struct{ Body NewAdministratorRole }

type administratorRolePatchInput struct {
	AdministratorRoleRef
	IfMatch string `header:"If-Match" doc:"The ETag that was read; another version is 412."`
	Body    AdministratorRolePatch
}

type administratorRoleDeletion struct {
	AdministratorRoleRef
	IfMatch string `header:"If-Match" doc:"The ETag that was read; another version is 412."`
}

const administratorRolesPath = "/v1/administrator-roles"

func (a *api) registerAdministratorRoles(h huma.API) {
	register(a, h, http.MethodPost, administratorRolesPath, operation{tagAdministrators, keyring.CreateAdministratorRoles, "create-administrator-role", "Create a management role", http.StatusCreated, []int{409}},
		func(ctx context.Context, p keyring.Principal, in *newAdministratorRoleInput) (*administratorRoleAnswer, error) {
			var f fields
			role := authz.AdministratorRole{Name: in.Body.Name, Description: in.Body.Description, Permissions: parse(&f, "permissions", in.Body.Permissions, authz.ParseScopes)}
			if err := f.err(); err != nil {
				return nil, err
			}
			return answerAdministratorRole(a.administrators.CreateRole(ctx, p, role))
		})
	register(a, h, http.MethodGet, administratorRolesPath, operation{tagAdministrators, keyring.ReadAdministrators, "list-administrator-roles", "List management roles: the built-in ones, then own ones", 0, nil},
		func(ctx context.Context, p keyring.Principal, _ *struct{}) (*administratorRolesAnswer, error) {
			roles, err := a.administrators.ListRoles(ctx, p)
			if err != nil {
				return nil, err
			}
			out := &administratorRolesAnswer{Body: Page[AdministratorRole]{Items: make([]AdministratorRole, len(roles))}}
			for i, r := range roles {
				out.Body.Items[i] = administratorRoleOf(r)
			}
			return out, nil
		})
	const one = administratorRolesPath + "/{name}"
	register(a, h, http.MethodGet, one, operation{tagAdministrators, keyring.ReadAdministrators, "get-administrator-role", "Show a management role", 0, []int{404}},
		func(ctx context.Context, p keyring.Principal, in *AdministratorRoleRef) (*administratorRoleAnswer, error) {
			return answerAdministratorRole(a.administrators.GetRole(ctx, p, in.Name))
		})
	register(a, h, http.MethodPatch, one, operation{tagAdministrators, keyring.UpdateAdministratorRoles, "update-administrator-role", "Change a management role, at once for all administrators that have it", 0, []int{404, 409, 412}},
		func(ctx context.Context, p keyring.Principal, in *administratorRolePatchInput) (*administratorRoleAnswer, error) {
			version, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			var f fields
			patch := administrators.RolePatch{Description: in.Body.Description, IfVersion: version}
			if in.Body.Permissions != nil {
				permissions := parse(&f, "permissions", *in.Body.Permissions, authz.ParseScopes)
				patch.Permissions = &permissions
			}
			if err := f.err(); err != nil {
				return nil, err
			}
			return answerAdministratorRole(a.administrators.UpdateRole(ctx, p, in.Name, patch))
		})
	register(a, h, http.MethodDelete, one, operation{tagAdministrators, keyring.DeleteAdministratorRoles, "delete-administrator-role", "Delete a management role that no administrator has", http.StatusNoContent, []int{404, 409, 412}},
		func(ctx context.Context, p keyring.Principal, in *administratorRoleDeletion) (*struct{}, error) {
			version, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			return nil, a.administrators.DeleteRole(ctx, p, in.Name, version)
		})
}
