package administrators

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"extauthz/authz"
)

// The actions in audit rows.
const (
	actionCreate     = "admin.create"
	actionUpdate     = "admin.update"
	actionEnable     = "admin.enable"
	actionDisable    = "admin.disable"
	actionRemove     = "admin.remove"
	actionRotate     = "admin.rotate"  // its key
	actionEndKey     = "admin.end_key" // one of its keys
	actionRoleCreate = "admin_role.create"
	actionRoleUpdate = "admin_role.update"
	actionRoleDelete = "admin_role.delete"
)

// recordKey is record for a change that concerns one of the administrator's keys.
func (s *Service) recordKey(d *draft, action string, was, is *authz.Administrator, key *authz.Record, extra map[string]string) error {
	if err := s.record(d, action, was, is, extra); err != nil {
		return err
	}
	e := &d.change.Audit[len(d.change.Audit)-1]
	e.KeyID, e.Prefix, e.UserID = key.ID, key.Prefix, key.UserID
	return nil
}

// record adds the audit row of an administrator that changed.
func (s *Service) record(d *draft, action string, was, is *authz.Administrator, extra map[string]string) error {
	detail := differences(facts(was), facts(is))
	maps.Copy(detail, extra)
	name := is.Name
	if name == "" {
		name = was.Name
	}
	detail["administrator"] = name
	e, err := s.entry(d, action, detail)
	if err != nil {
		return err
	}
	e.Administrator = is.ID
	d.change.Audit = append(d.change.Audit, e)
	return nil
}

// recordRole adds the audit row of a management role that changed.
func (s *Service) recordRole(d *draft, action, name string, was, is authz.AdministratorRole) error {
	e, err := s.entry(d, action, differences(roleFacts(was), roleFacts(is)))
	if err != nil {
		return err
	}
	e.Role = name
	d.change.Audit = append(d.change.Audit, e)
	return nil
}

func (s *Service) entry(d *draft, action string, detail map[string]string) (authz.AuditEntry, error) {
	id, err := s.newID()
	if err != nil {
		return authz.AuditEntry{}, err
	}
	return authz.AuditEntry{ID: id, At: d.now, Actor: d.p.Actor(), ActorName: d.p.Name, Action: action,
		RequestID: d.p.RequestID, Source: d.p.Source, Detail: detail}, nil
}

// differences returns "old -> new" for every fact that differs.
func differences(was, is map[string]string) map[string]string {
	changed := map[string]string{}
	for name, now := range is {
		if before := was[name]; before != now {
			changed[name] = before + " -> " + now
		}
	}
	return changed
}

// facts returns, as text, everything of an administrator that people change.
func facts(x *authz.Administrator) map[string]string {
	networks := make([]string, len(x.Networks))
	for i, n := range x.Networks {
		networks[i] = n.String()
	}
	end := ""
	if !x.ExpiresAt.IsZero() {
		end = x.ExpiresAt.UTC().Format(time.RFC3339Nano)
	}
	return map[string]string{
		"name":            x.Name,
		"description":     x.Description,
		"roles":           strings.Join(x.Roles, " "),
		"grants.scopes":   strings.Join(x.Grants.Scopes.Strings(), " "),
		"grants.projects": strings.Join(x.Grants.Projects, " "),
		"grants.users":    strings.Join(x.Grants.Users, " "),
		"allowed_cidrs":   strings.Join(networks, " "),
		"expires_at":      end,
		"active":          strconv.FormatBool(x.Active),
	}
}

func equalFacts(a, b *authz.Administrator) bool { return maps.Equal(facts(a), facts(b)) }

func roleFacts(r authz.AdministratorRole) map[string]string {
	return map[string]string{"description": r.Description, "permissions": strings.Join(r.Permissions.Strings(), " ")}
}
