package keyring

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"extauthz/authz"
)

// The actions in audit rows.
const (
	actionKeyCreate  = "key.create"
	actionKeyUpdate  = "key.update"
	actionKeyEnable  = "key.enable"
	actionKeyDisable = "key.disable"
	actionKeyRotate  = "key.rotate" // the old key, which got its end
	actionKeyExpire  = "key.expire" // a still older one, ended by a rotation
	actionKeyRevoke  = "key.revoke"
	actionRoleCreate = "role.create"
	actionRoleUpdate = "role.update"
	actionRoleDelete = "role.delete"
)

// ListAudit returns audit rows, newest first. Audit rows have no project. A principal that
// may not act in all projects must therefore name, in the filter, one key (id or prefix)
// of a project of its own. A filter.Limit of 0 means DefaultLimit.
func (s *Service) ListAudit(ctx context.Context, p Principal, filter authz.AuditFilter) ([]authz.AuditEntry, error) {
	if err := p.Require(ReadAudit); err != nil {
		return nil, err
	}
	var err error
	if filter.Limit, err = pageLimit(filter.Limit); err != nil {
		return nil, err
	}
	switch {
	case filter.KeyID == "" && p.everywhere():
	case filter.KeyID == "":
		return nil, fmt.Errorf("%w: you may read the audit of single keys alone: name one", ErrForbidden)
	case p.everywhere() && uuid.Validate(filter.KeyID) == nil:
		// Audit entries stay when their key is deleted from the database.
	default:
		rec, err := s.find(ctx, p, filter.KeyID)
		if err != nil {
			return nil, err
		}
		filter.KeyID = rec.ID
	}
	return s.store.ListAudit(ctx, filter)
}

// entry returns an audit row for an action of the principal at t.
func (s *Service) entry(p Principal, t time.Time, action string, detail map[string]string) (authz.AuditEntry, error) {
	id, err := s.newID()
	if err != nil {
		return authz.AuditEntry{}, err
	}
	name := p.Name
	if p.System && p.SystemAs == "" {
		name = ""
	}
	return authz.AuditEntry{
		ID: id, At: t, Actor: p.Actor(), ActorName: name, Action: action,
		RequestID: p.RequestID, Source: p.Source, Detail: detail,
	}, nil
}

// recordKey adds to m the audit row of a key that changed from before to after.
func (s *Service) recordKey(m *authz.Mutation, p Principal, t time.Time, action string, before, after *authz.Record, extra map[string]string) error {
	detail := differences(keyFacts(before), keyFacts(after))
	maps.Copy(detail, extra)
	e, err := s.entry(p, t, action, detail)
	if err != nil {
		return err
	}
	e.KeyID, e.Prefix, e.UserID = after.ID, after.Prefix, after.UserID
	m.Audit = append(m.Audit, e)
	return nil
}

// recordRole adds to m the audit row of a role that changed.
func (s *Service) recordRole(m *authz.Mutation, p Principal, t time.Time, action, name string, before, after authz.Role) error {
	e, err := s.entry(p, t, action, differences(roleFacts(before), roleFacts(after)))
	if err != nil {
		return err
	}
	e.Role = name
	m.Audit = append(m.Audit, e)
	return nil
}

// differences returns "old -> new" for every fact that differs.
func differences(before, after map[string]string) map[string]string {
	changed := make(map[string]string)
	for name, was := range before {
		if after[name] != was {
			changed[name] = was + " -> " + after[name]
		}
	}
	for name, is := range after {
		if _, had := before[name]; !had && is != "" {
			changed[name] = " -> " + is
		}
	}
	return changed
}

// keyFacts returns, as text, everything in a record that people can change. Keys with
// equal facts count as equal, so an update that changes no fact is no update.
func keyFacts(rec *authz.Record) map[string]string {
	facts := map[string]string{
		"name":            rec.Name,
		"scopes":          strings.Join(rec.Scopes.Strings(), " "),
		"roles":           strings.Join(rec.Roles, " "),
		"grants.scopes":   strings.Join(rec.Grants.Scopes.Strings(), " "),
		"grants.projects": strings.Join(rec.Grants.Projects, " "),
		"active":          strconv.FormatBool(rec.Active),
		"expires_at":      instant(rec.ExpiresAt),
		"revoked_at":      instant(rec.RevokedAt),
		"grants.users":    strings.Join(rec.Grants.Users, " "),
		"shadow_until":    instant(rec.ShadowUntil),
		"shadow_end":      instant(rec.ShadowEnd),
		"shadow_scopes":   strings.Join(rec.ShadowScopes.Strings(), " "),
		"environment":     rec.Environment,
		"project":         rec.Project,
		"rotated_from":    rec.RotatedFrom,
		"rate":            "",
	}
	if !rec.Rate.IsZero() {
		facts["rate"] = rec.Rate.String()
	}
	networks := make([]string, len(rec.AllowedCIDRs))
	for i, network := range rec.AllowedCIDRs {
		networks[i] = network.String()
	}
	facts["allowed_cidrs"] = strings.Join(networks, " ")
	for name, value := range rec.Metadata {
		facts["metadata."+name] = strconv.Quote(value)
	}
	return facts
}

func roleFacts(role authz.Role) map[string]string {
	return map[string]string{
		"description": role.Description,
		"scopes":      strings.Join(role.Scopes.Strings(), " "),
	}
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// sortedSet returns the values sorted, each once.
func sortedSet(values []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}
