package adminapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
)

// Code names a kind of problem.
type Code string

// The codes of the API itself. Refused keys have the codes that gateways' clients get.
const (
	CodeBadRequest         Code = "bad_request"
	CodeForbidden          Code = "forbidden"
	CodeNotFound           Code = "not_found"
	CodeNoSuchPath         Code = "no_such_path"
	CodeMethodNotAllowed   Code = "method_not_allowed"
	CodeRequestTimeout     Code = "request_timeout"
	CodeConflict           Code = "conflict"
	CodeKeyEnded           Code = "key_not_active"
	CodeSuperseded         Code = "key_superseded"
	CodeFamilyFull         Code = "family_full"
	CodeLastAdministrator  Code = "last_administrator"
	CodeAdministratorKey   Code = "administrator_key"
	CodeUnreadableRow      Code = "unreadable_row"
	CodePreconditionFailed Code = "precondition_failed"
	CodeTooLarge           Code = "body_too_large"
	CodeUnsupportedType    Code = "unsupported_media_type"
	CodeInvalidRequest     Code = "invalid_request"
	CodeInvalidCursor      Code = "invalid_cursor"
	CodeIdempotencyReuse   Code = "idempotency_key_reused"
	CodeInternal           Code = "internal_error"
	CodeUnavailable        Code = "unavailable"
)

// codes lists every code with its status. The OpenAPI document, the answers and
// docs/api.md are made from this list or tested against it. If a status has several
// codes, the first one is for refusals by huma itself.
var codes = []struct {
	code   Code
	status int
	when   string
}{
	{CodeBadRequest, 400, "the body is no JSON, or has a name twice; the path or a parameter is not UTF-8"},
	{reasonCode(authz.ReasonMissing), 401, "no key in `Authorization: Bearer`"},
	{reasonCode(authz.ReasonAmbiguous), 401, "more than one `Authorization` header"},
	{reasonCode(authz.ReasonMalformed), 401, "what was sent is not the form of a key"},
	{reasonCode(authz.ReasonUnknown), 401, "no such key, or a wrong secret"},
	{reasonCode(authz.ReasonDisabled), 401, "the key is disabled"},
	{reasonCode(authz.ReasonRevoked), 401, "the key was revoked"},
	{reasonCode(authz.ReasonExpired), 401, "the key has expired"},
	{CodeForbidden, 403, "the caller's permissions or grants do not cover the call, or the key is no administrator's; `detail` has what is missing"},
	{reasonCode(authz.ReasonNetwork), 403, "the client's address is outside the key's networks"},
	{CodeNotFound, 404, "no such key, role or administrator, or not in the caller's projects"},
	{CodeNoSuchPath, 404, "the API has no such path"},
	{CodeMethodNotAllowed, 405, "the path has other methods, which `Allow` lists"},
	{CodeRequestTimeout, 408, "the body did not arrive in time"},
	{CodeConflict, 409, "there is one of that name, or another change was faster"},
	{CodeKeyEnded, 409, "the key is revoked, disabled or expired"},
	{CodeSuperseded, 409, "a newer key of the family is in use"},
	{CodeFamilyFull, 409, "two keys of the family are in use"},
	{CodeLastAdministrator, 409, "no working administrator would be left"},
	{CodeAdministratorKey, 409, "it is an administrator's key, which changes with the administrator alone"},
	{CodeUnreadableRow, 409, "the row in the database was edited by hand and can't be read"},
	{CodePreconditionFailed, 412, "`If-Match` names another version"},
	{CodeTooLarge, 413, "the body has more than 1 MiB"},
	{CodeUnsupportedType, 415, "the body's `Content-Type` is not `application/json`"},
	{CodeInvalidRequest, 422, "`errors` lists every field that is wrong, unknown names included"},
	{CodeInvalidCursor, 422, "`cursor` is not from an answer to this list"},
	{CodeIdempotencyReuse, 422, "another request was made under this `Idempotency-Key`"},
	{reasonCode(authz.ReasonThrottled), 429, "too many wrong keys; try again after `Retry-After`"},
	{CodeInternal, 500, "a fault of extauthz; the log has it under `request_id`"},
	{CodeUnavailable, 503, "the database failed; `detail` has the reason and what to do"},
}

func reasonCode(r authz.Reason) Code { return Code(r.Code()) }

func (c Code) status() int {
	for _, x := range codes {
		if x.code == c {
			return x.status
		}
	}
	return http.StatusInternalServerError
}

// codeOfStatus returns the code for a refusal that huma made.
func codeOfStatus(status int) Code {
	for _, x := range codes {
		if x.status == status {
			return x.code
		}
	}
	if status < http.StatusInternalServerError {
		return CodeBadRequest
	}
	return CodeInternal
}

// Schema describes a code as an enumeration of all codes.
func (Code) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Description: "What kind of problem it is, for programs."}
	var lines []string
	for _, x := range codes {
		s.Enum = append(s.Enum, string(x.code))
		lines = append(lines, fmt.Sprintf("- `%s` (%d): %s", x.code, x.status, x.when))
	}
	s.Description += "\n\n" + strings.Join(lines, "\n")
	return s
}
