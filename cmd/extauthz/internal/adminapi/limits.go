package adminapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
	"extauthz/authz/subject"
)

// bound adds to a schema a limit that the code enforces.
type bound func(*huma.Schema)

// length limits the length of a text in characters. Where the code limits bytes it is
// stricter for texts outside ASCII, and its own error names that limit.
func length(least, most int) bound {
	return func(s *huma.Schema) {
		s.MaxLength = &most
		if least > 0 {
			s.MinLength = &least
		}
		s.PrecomputeMessages()
	}
}

// form documents the form of a text. The code behind the API checks it, not huma: huma's
// message would say less about what to write, and would hide all faults that only the
// code finds.
func form(pattern string) bound { return func(s *huma.Schema) { s.Pattern = pattern } }

// each applies bounds to the elements of a list or a map, and limits their number to
// most.
func each(most int, bounds ...bound) bound {
	return func(s *huma.Schema) {
		inner := s.Items
		switch {
		case s.Type == huma.TypeArray && most > 0:
			s.MaxItems = &most
		case s.Type == huma.TypeObject:
			s.MaxProperties = &most
			inner = s.AdditionalProperties.(*huma.Schema)
		}
		s.PrecomputeMessages() // covers the elements too; their forms come later, so that huma does not check those
		for _, b := range bounds {
			b(inner)
		}
	}
}

// filled declares that a list in an answer is never null.
func filled(s *huma.Schema) { s.Nullable = false }

const (
	scopeForm  = `^[^ :,\\]+:[^ :]+$`
	rateForm   = `^(([1-9][0-9]{0,8}|1000000000)/[smhd])?$`
	maxText    = 64                    // characters of a duration or a time
	maxSubject = 4 * subject.MaxUserID // the stored form of an id may be longer
	maxURL     = 16 << 10
	maxCursor  = 1024
)

var (
	scopeText         = []bound{length(3, 2*authz.MaxResourceLength), form(scopeForm)}
	roleText          = []bound{length(1, 63), form(keyring.RoleNameForm)}
	scopeList         = each(0, scopeText...)
	roleList          = each(keyring.MaxRoles, roleText...)
	cidrList          = each(keyring.MaxCIDRs, length(1, maxText))
	metadata          = each(keyring.MaxMetadata, length(0, keyring.MaxMetadataValue))
	span              = length(0, maxText)
	managementRoles   = each(administrators.MaxRoles, roleText...)
	administratorName = []bound{length(1, 100), form(administrators.NameForm)}
	keyName           = length(1, subject.MaxName)
	roleAbout         = length(0, keyring.MaxDescription)
	keyProject        = []bound{length(0, 63), form(keyring.ProjectForm)}
)

// bounds holds the limits of requests. A field is listed by its schema and name;
// parameters, and fields that have the same limit everywhere, by name alone. The types of
// all other fields limit them.
var bounds = map[string][]bound{
	"NewKey.user_id":       {length(1, subject.MaxUserID)},
	"NewKey.name":          {keyName},
	"NewKey.scopes":        {scopeList},
	"NewKey.roles":         {roleList},
	"NewKey.environment":   {length(0, 16), form(`^[a-z0-9]*$`)},
	"NewKey.allowed_cidrs": {cidrList},
	"NewKey.metadata":      {metadata},
	"NewKey.rate":          {length(0, maxText), form(rateForm)},
	"NewKey.project":       keyProject,

	"KeyPatch.name":          {keyName},
	"KeyPatch.scopes":        {scopeList},
	"KeyPatch.roles":         {roleList},
	"KeyPatch.expires_at":    {length(1, maxText)},
	"KeyPatch.allowed_cidrs": {cidrList},
	"KeyPatch.metadata":      {metadata},
	"KeyPatch.rate":          {length(0, maxText), form(rateForm)},
	"KeyPatch.shadow_until":  {length(1, maxText)},
	"KeyPatch.project":       keyProject,

	"Grants.scopes":   {scopeList},
	"Grants.projects": {each(keyring.MaxProjects, length(1, 63))},
	"Grants.users":    {each(keyring.MaxUsers, length(1, subject.MaxUserID+1))},

	"NewRole.name":          roleText,
	"NewRole.description":   {roleAbout},
	"NewRole.scopes":        {scopeList},
	"RolePatch.description": {roleAbout},
	"RolePatch.scopes":      {scopeList},

	"NewAdministrator.name":              administratorName,
	"NewAdministrator.description":       {roleAbout},
	"NewAdministrator.roles":             {managementRoles},
	"NewAdministrator.allowed_cidrs":     {cidrList},
	"AdministratorPatch.name":            administratorName,
	"AdministratorPatch.description":     {roleAbout},
	"AdministratorPatch.roles":           {managementRoles},
	"AdministratorPatch.allowed_cidrs":   {cidrList},
	"AdministratorPatch.expires_at":      {length(1, maxText)},
	"NewAdministratorRole.name":          roleText,
	"NewAdministratorRole.description":   {roleAbout},
	"NewAdministratorRole.permissions":   {scopeList},
	"AdministratorRolePatch.description": {roleAbout},
	"AdministratorRolePatch.permissions": {scopeList},

	"ExplainRequest.method":  {length(1, 64)},
	"ExplainRequest.url":     {length(1, maxURL)},
	"ExplainRequest.headers": {each(100, length(1, maxURL))},
	"ExplainRequest.from":    {length(0, maxText)},
	"ExplainRequest.key":     {length(0, maxURL)},

	"CacheEntries.key":  {length(0, keyring.MaxRef)},
	"CacheEntries.user": {length(0, maxSubject)},
	"CacheEntries.tag":  {length(0, maxSubject)},

	"Purge.revoked_for":      {span},
	"Purge.expired_for":      {span},
	"Purge.audit_older_than": {span},
	"Purge.after":            {length(0, keyring.MaxRef)},

	"grace":           {span},
	"expires_in":      {span},
	"id":              {length(1, keyring.MaxRef)},
	"name":            {length(1, maxText)},
	"user_id":         {length(0, maxSubject)},
	"cursor":          {length(0, maxCursor)},
	"project":         {length(0, 63)},
	"q":               {length(0, maxSubject)},
	"unused_for":      {span},
	"reason":          {length(0, keyring.MaxReason)},
	"key_id":          {length(0, keyring.MaxRef)},
	"actor":           {length(0, keyring.MaxRef)},
	"administrator":   {length(0, keyring.MaxRef)},
	"key":             {length(1, keyring.MaxRef)},
	"created_by":      {length(0, keyring.MaxRef)},
	"action":          {length(0, maxText)},
	"since":           {span},
	"If-Match":        {length(0, maxText)},
	"Idempotency-Key": {length(0, keyring.MaxIdempotencyKey)},

	"Key.scopes":                    {filled},
	"Key.roles":                     {filled},
	"Key.allowed_cidrs":             {filled},
	"Key.shadow_scopes":             {filled},
	"Rotated.scopes":                {filled},
	"Rotated.roles":                 {filled},
	"Rotated.allowed_cidrs":         {filled},
	"Rotated.shadow_scopes":         {filled},
	"Role.scopes":                   {filled},
	"Administrator.roles":           {filled},
	"Administrator.permissions":     {filled},
	"Administrator.allowed_cidrs":   {filled},
	"Administrator.keys":            {filled},
	"AdministratorRole.permissions": {filled},
	"Caller.permissions":            {filled},
	"PageAdministrator.items":       {filled},
	"PageAdministratorRole.items":   {filled},
	"Explanation.steps":             {filled},
	"PageKey.items":                 {filled},
	"PageRole.items":                {filled},
	"PageRoute.items":               {filled},
	"PageUsage.items":               {filled},
	"PageAuditEntry.items":          {filled},
	"PageInvalidation.items":        {filled},
}

// limit puts the bounds into the document, and huma then checks requests against them. A
// text in a request without any bound is an error, and so is a bound that belongs to no
// field.
func limit(doc *huma.OpenAPI) error {
	var problems []error
	used := map[string]bool{}
	apply := func(schema, name string, s *huma.Schema, request bool) {
		if _, own := bounds[schema+name]; own || !request {
			name = schema + name
		}
		if request {
			s.Nullable = false // see markNulls
		}
		bs, listed := bounds[name]
		used[name] = used[name] || listed
		for _, b := range bs {
			b(s)
		}
		if request && !listed && !bounded(s) {
			problems = append(problems, fmt.Errorf("%s%s has no limit: add one to bounds", schema, name))
		}
	}
	requests := map[string]bool{}
	for op := range operations(doc) {
		for _, p := range op.Parameters {
			apply("", p.Name, p.Schema, true)
		}
		if op.RequestBody != nil {
			requests[schemaName(op.RequestBody.Content["application/json"].Schema)] = true
		}
	}
	requests["Grants"] = true
	schemas := doc.Components.Schemas.Map()
	for schema, s := range schemas {
		for field, f := range s.Properties {
			apply(schema+".", field, f, requests[schema])
		}
	}
	for name := range bounds {
		if !used[name] {
			problems = append(problems, fmt.Errorf("bounds has %s, which no request has", name))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

// bounded reports whether the schema itself limits a value of a request.
func bounded(s *huma.Schema) bool {
	return s.Ref != "" || s.Type == huma.TypeBoolean || s.Type == huma.TypeInteger || s.Format == "date-time" || s.MaxLength != nil || len(s.Enum) > 0
}

func schemaName(s *huma.Schema) string { return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:] }
