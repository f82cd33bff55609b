package keyring

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"extauthz/authz"
	"extauthz/authz/subject"
)

// The limits of what a key or a role may hold. The management API's document contains
// them too.
const (
	MaxDescription    = 500  // characters
	maxScopes         = 100  // resources
	MaxRoles          = 32   // names
	MaxCIDRs          = 100  // networks
	MaxMetadata       = 32   // entries
	MaxMetadataValue  = 1024 // bytes
	MaxProjects       = 100  // names in grants
	MaxUsers          = 100  // patterns in grants
	MaxIdempotencyKey = 255  // bytes
	MaxReason         = 500  // characters
)

// DefaultLimit and MaxLimit bound a page of a list, in elements.
const (
	DefaultLimit = 50
	MaxLimit     = 1000
)

// The forms of names, as regular expressions.
const (
	ProjectForm  = `^[A-Za-z0-9._-]{0,63}$`
	RoleNameForm = `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`
)

var (
	metadataKeyForm = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	projectForm     = regexp.MustCompile(ProjectForm)
	roleNameForm    = regexp.MustCompile(RoleNameForm)
)

// Problems collects what is wrong with a request. Its methods return what they are given in
// the form to store.
type Problems struct {
	Format *authz.KeyFormat // nil: texts are not searched for keys
	fields []FieldError
}

// Add records what is wrong with a field, in the form "must …".
func (v *Problems) Add(field, message string, args ...any) {
	v.fields = append(v.fields, FieldError{field, fmt.Sprintf(message, args...)})
}

// Err returns nil or a *ValidationError.
func (v *Problems) Err() error {
	if len(v.fields) == 0 {
		return nil
	}
	return &ValidationError{Fields: v.fields}
}

// NoKey refuses a key in a field that many users can read.
func (v *Problems) NoKey(field, value string) {
	if v.Format == nil {
		return
	}
	if _, is := v.Format.Parse(authz.NewSecret(strings.TrimSpace(value))); is {
		v.Add(field, "holds an API key: revoke that key, it was shown")
	}
}

// userID returns the id of a key's user as it is stored.
func (v *Problems) userID(id string) string {
	before := len(v.fields)
	v.NoKey("user_id", id)
	stored, err := subject.UserID(id)
	if err != nil && len(v.fields) == before {
		v.Add("user_id", "%v", err)
	}
	return stored
}

// userRef checks the id of a user whose keys are looked for. It may be an id that is
// refused for new keys: ids that were stored before have to be found.
func (v *Problems) userRef(id string) {
	switch {
	case id == "":
		v.Add("user_id", "must not be empty")
	case len(id) > 4*subject.MaxUserID: // other Unicode forms of an id are longer
		v.Add("user_id", "must have at most %d bytes", subject.MaxUserID)
	}
	v.NoKey("user_id", id)
}

// userPatterns returns the patterns of an administrator's users, see
// [authz.Grants.NamesUser].
func (v *Problems) userPatterns(patterns []string) []string {
	if len(patterns) > MaxUsers {
		v.Add("grants.users", "must be at most %d", MaxUsers)
	}
	stored := make([]string, len(patterns))
	for i, pattern := range patterns {
		head, open := strings.CutSuffix(pattern, "*")
		if open && head == "" {
			stored[i] = pattern
			continue
		}
		probe := head
		if open { // the beginning of an id may end in a blank, or with a dot
			probe += "x"
		}
		id, err := subject.UserID(probe)
		if err != nil {
			v.Add("grants.users", "has %.80q, which no user has: an id %v", pattern, err)
			continue
		}
		if open {
			if id, open = strings.CutSuffix(id, "x"); !open {
				v.Add("grants.users", "has %.80q: write the beginning of an id before the \"*\"", pattern)
			}
			id += "*"
		}
		stored[i] = id
	}
	return sortedSet(stored)
}

// Text checks free text, which may hold any script but nothing that changes
// how the text around it reads.
func (v *Problems) Text(field, value string, limit int) {
	switch {
	case !utf8.ValidString(value) || strings.ContainsFunc(value, misleads):
		v.Add(field, "must be UTF-8 without control characters, line separators and direction marks")
	case utf8.RuneCountInString(value) > limit:
		v.Add(field, "must have at most %d characters", limit)
	}
	v.NoKey(field, value)
}

// name returns the name as it is stored.
func (v *Problems) name(name string) string {
	before := len(v.fields)
	v.NoKey("name", name)
	stored, err := subject.Name(name)
	if err != nil && len(v.fields) == before {
		v.Add("name", "%v", err)
	}
	return stored
}

func misleads(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// Scopes returns the scopes in canonical form.
func (v *Problems) Scopes(field string, scopes authz.Scopes) authz.Scopes {
	canonical, err := authz.NewScopes(scopes)
	if err != nil {
		v.Add(field, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if len(canonical) > maxScopes {
		v.Add(field, "must name at most %d resources: put them into roles, or use wider resources", maxScopes)
	}
	if len(canonical.Reserved()) > 0 {
		v.Add(field, "must not name the resource %s, which is for administrators: make one with `extauthz admins create` or POST /v1/administrators", authz.ReservedResource)
	}
	return canonical
}

// roles returns the names sorted, each once.
func (v *Problems) roles(names []string) []string {
	names = sortedSet(names)
	if len(names) > MaxRoles {
		v.Add("roles", "must be at most %d", MaxRoles)
	}
	for _, name := range names {
		v.roleName("roles", name)
	}
	return names
}

func (v *Problems) roleName(field, name string) {
	if !roleNameForm.MatchString(name) {
		v.Add(field, "has %.80q, which is no role name: 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first", name)
	}
}

// known reports roles that do not exist.
func (v *Problems) known(names []string, roles roleSet) {
	for _, name := range names {
		if roles[name] == nil && roleNameForm.MatchString(name) {
			v.Add("roles", "has %q, which does not exist: create it first", name)
		}
	}
}

// Grants checks what an administrator may put on keys.
func (v *Problems) Grants(g authz.Grants) authz.Grants {
	g.Scopes = v.Scopes("grants.scopes", g.Scopes)
	g.Projects = sortedSet(g.Projects)
	if len(g.Projects) > MaxProjects {
		v.Add("grants.projects", "must be at most %d", MaxProjects)
	}
	for _, project := range g.Projects {
		if project != AllProjects && (project == "" || !projectForm.MatchString(project)) {
			v.Add("grants.projects", "has %.80q: a project has 1 to 63 letters, digits, '.', '_' and '-'; \"*\" stands for all", project)
		}
	}
	g.Users = v.userPatterns(g.Users)
	return g
}

func (v *Problems) project(project string) {
	if !projectForm.MatchString(project) {
		v.Add("project", "must have at most 63 letters, digits, '.', '_' and '-'")
	}
}

func (v *Problems) environment(environment string, known []string) {
	if !slices.Contains(known, environment) {
		v.Add("environment", "must be one of %s", strings.Join(known, ", "))
	}
}

// Expiry returns the expiry as it will be stored. The zero time means never.
func (v *Problems) Expiry(at, now time.Time) time.Time {
	at = storable(at)
	if !at.IsZero() && !at.After(now) {
		v.Add("expires_at", "must be in the future")
	}
	return at
}

// shadow returns the end of shadow mode as it will be stored. The zero time means none.
func (v *Problems) shadow(until, now time.Time) time.Time {
	until = storable(until)
	if !until.IsZero() && (!until.After(now) || until.After(now.Add(MaxShadow))) {
		v.Add("shadow_until", "must be in the future, and at most 90 days ahead")
	}
	return until
}

// CIDRs returns the networks in canonical form: masked, IPv4 as IPv4, sorted.
func (v *Problems) CIDRs(networks []netip.Prefix) []netip.Prefix {
	if len(networks) > MaxCIDRs {
		v.Add("allowed_cidrs", "must be at most %d", MaxCIDRs)
	}
	var canonical []netip.Prefix
	for i, n := range networks {
		if !n.IsValid() {
			v.Add(fmt.Sprintf("allowed_cidrs[%d]", i), "must be a network, such as 192.0.2.0/24")
			continue
		}
		if n.Addr().Is4In6() {
			if n.Bits() < 96 {
				v.Add(fmt.Sprintf("allowed_cidrs[%d]", i), "mixes IPv4 and IPv6: write it as an IPv4 network")
				continue
			}
			n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
		}
		canonical = append(canonical, n.Masked())
	}
	slices.SortFunc(canonical, netip.Prefix.Compare)
	return slices.Compact(canonical)
}

func (v *Problems) metadata(entries map[string]string) {
	if len(entries) > MaxMetadata {
		v.Add("metadata", "must have at most %d entries", MaxMetadata)
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		value := entries[key]
		field := "metadata." + key
		if !metadataKeyForm.MatchString(key) {
			field = "metadata"
			v.Add(field, "has the name %.80q: names have 1 to 63 lower-case letters, digits and '-'", key)
		}
		switch {
		case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
			v.Add(field, "must be UTF-8 without control characters")
		case len(value) > MaxMetadataValue:
			v.Add(field, "must have at most %d bytes", MaxMetadataValue)
		}
		v.NoKey(field, value)
	}
}

func (v *Problems) rate(rate authz.Rate) {
	if rate != (authz.Rate{}) && (rate.Count <= 0 || rate.Per <= 0) {
		v.Add("rate", "must be positive, such as 100/s")
	}
}

func pageLimit(limit int) (int, error) {
	switch {
	case limit == 0:
		return DefaultLimit, nil
	case limit < 0 || limit > MaxLimit:
		return 0, &ValidationError{[]FieldError{{"limit", fmt.Sprintf("must be 1 to %d", MaxLimit)}}}
	default:
		return limit, nil
	}
}
