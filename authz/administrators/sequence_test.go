package administrators_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

// ability is one thing that an administrator can do, at a place and a time.
type ability struct {
	permission, scope, project, user, from string
	after                                  time.Duration // since start
}

// Values that sequences are made of, and that abilities are counted over.
var (
	somePermissions = []string{"extauthz/keys:create", "extauthz/keys:rotate", "extauthz/audit:read", "extauthz/administrators:create", "extauthz/administrators:update",
		"extauthz/administrators:rotate", "extauthz/administrators:delete", "extauthz/administrator-roles:create", "extauthz/administrator-roles:update", "extauthz/administrators:read"}
	someScopes   = []string{"", "orders:read", "orders:write", "billing:read"}
	someProjects = []string{"", "shop", "bank"}
	someUsers    = []string{"", "acme-1", "bob"}
	someFrom     = []string{"192.0.2.7", "192.0.3.1", "198.51.100.1", "2001:db8::1"}
	someAfter    = []time.Duration{24 * time.Hour, 20 * 24 * time.Hour, 200 * 24 * time.Hour}
)

// abilities is everything that a power allows. It compares single things and not powers,
// so it does not repeat what the rule under test does.
func abilities(p administrators.Power) map[ability]bool {
	can := map[ability]bool{}
	for _, from := range someFrom {
		if len(p.Networks) > 0 && !slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(netip.MustParseAddr(from)) }) {
			continue
		}
		for _, after := range someAfter {
			if !p.Until.IsZero() && !start.Add(after).Before(p.Until) {
				continue
			}
			for _, permission := range somePermissions {
				if resource, action, _ := strings.Cut(permission, ":"); !p.Permissions.Allows(resource, action) {
					continue
				}
				can[ability{permission: permission, from: from, after: after}] = true
				grantable(p.Grants, func(scope, project, user string) {
					can[ability{permission, scope, project, user, from, after}] = true
				})
			}
		}
	}
	return can
}

// grantable calls yield with each key that grants allow.
func grantable(g authz.Grants, yield func(scope, project, user string)) {
	for _, project := range someProjects {
		if !slices.Contains(g.Projects, "*") && !slices.Contains(g.Projects, project) {
			continue
		}
		for _, scope := range someScopes {
			if resource, action, ok := strings.Cut(scope, ":"); ok && !g.Scopes.Allows(resource, action) {
				continue
			}
			for _, user := range someUsers {
				if user != "" && g.NamesUser(user) {
					yield(scope, project, user)
				}
			}
		}
	}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// some are a few of the values, none of them in one of four cases.
func some[T any](r *rand.Rand, from []T) (out []T) {
	for range r.IntN(4) {
		out = append(out, pick(r, from))
	}
	return out
}

func randomGrants(t *testing.T, r *rand.Rand) authz.Grants {
	return authz.Grants{Scopes: scopes(t, strings.Join(some(r, []string{"orders:read", "orders:*", "billing:read", "*:*", "*:read"}), " ")),
		Projects: some(r, []string{"shop", "bank", "*"}), Users: some(r, []string{"acme-*", "acme-1", "bob", "*"})}
}

func randomNetworks(r *rand.Rand) []netip.Prefix {
	return some(r, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.0/23"), netip.MustParsePrefix("192.0.0.0/16"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("0.0.0.0/0")})
}

func randomEnd(r *rand.Rand) time.Time {
	return pick(r, []time.Time{{}, start.Add(10 * 24 * time.Hour), start.Add(100 * 24 * time.Hour)})
}

func randomPermissions(t *testing.T, r *rand.Rand) authz.Scopes {
	return scopes(t, strings.Join(append(some(r, append(slices.Clone(somePermissions), "extauthz:*", "extauthz/administrators:*", "extauthz/keys:*")), pick(r, somePermissions)), " "))
}

// attack is an attacker who controls one administrator, and gains control of others by
// learning keys of theirs.
type attack struct {
	*bench
	r         *rand.Rand
	keys      map[string]bool // ids of keys whose secrets it has
	log       []string
	roleNames []string
}

// controlled are the administrators with a key that the attacker has and that works.
func (a *attack) controlled() (found []authz.Administrator) {
	for _, x := range a.store.a.Administrators {
		if x.Status(a.now) == authz.StatusActive && len(a.held(&x)) > 0 {
			found = append(found, x)
		}
	}
	return found
}

// held are the ids of an administrator's keys that the attacker has and that work.
func (a *attack) held(x *authz.Administrator) (ids []string) {
	for _, k := range a.store.a.FamilyKeys(x.Family) {
		if a.keys[k.Record.ID] && k.Record.Status(a.now) == authz.StatusActive {
			ids = append(ids, k.Record.ID)
		}
	}
	return ids
}

// caller is one of the controlled administrators, calling from where it may.
func (a *attack) anyCaller() (keyring.Principal, bool) {
	all := a.controlled()
	if len(all) == 0 {
		return keyring.Principal{}, false
	}
	x := pick(a.r, all)
	return keyring.Principal{AdministratorID: x.ID, KeyID: pick(a.r, a.held(&x)), Name: x.Name, Permissions: administrators.PowerOf(&x, a.store.a.Roles).Permissions, Grants: x.Grants, Source: "192.0.2.7"}, true
}

func (a *attack) anyRef() string {
	x := pick(a.r, a.store.a.Administrators)
	return pick(a.r, []string{x.ID, x.Name})
}

func (a *attack) anyRoles() []string {
	return append(some(a.r, append([]string{"owner", "manager", "support", "auditor", "issuer"}, a.roleNames...)), pick(a.r, append([]string{"issuer", "owner"}, a.roleNames...)))
}

// learn keeps the key of an answer.
func (a *attack) learn(m administrators.Made, err error) error {
	if err == nil && m.Key.Len() > 0 {
		a.keys[m.Keys[0].ID] = true
	}
	return err
}

// step makes one random call.
func (a *attack) step(n int) {
	ctx, r := a.Context(), a.r
	p, ok := a.anyCaller()
	if !ok {
		return
	}
	ref := a.anyRef()
	var patch administrators.Patch
	name, err := "", error(nil)
	switch r.IntN(12) {
	case 0, 1:
		name = "create"
		err = a.learn(a.admins.Create(ctx, p, administrators.CreateRequest{Name: fmt.Sprintf("a%d", n), Roles: a.anyRoles(), Grants: randomGrants(a.T, r), Networks: randomNetworks(r), ExpiresAt: randomEnd(r)}))
	case 2:
		name, patch.Roles = "roles", new(a.anyRoles())
	case 3:
		name, patch.Grants = "grants", new(randomGrants(a.T, r))
	case 4:
		name, patch.Networks = "networks", new(randomNetworks(r))
	case 5:
		name, patch.ExpiresAt = "end", new(randomEnd(r))
	case 6:
		name = "rotate"
		err = a.learn(a.admins.Rotate(ctx, p, ref, administrators.RotateOptions{Grace: new(pick(r, []time.Duration{0, time.Hour, 30 * 24 * time.Hour}))}))
	case 7:
		name = "switch"
		if r.IntN(2) == 0 {
			_, err = a.admins.Disable(ctx, p, ref)
		} else {
			_, err = a.admins.Enable(ctx, p, ref)
		}
	case 8:
		name = "remove"
		if r.IntN(3) == 0 {
			err = a.admins.Remove(ctx, p, ref, "", 0)
		}
	case 9:
		name = "create role"
		role := fmt.Sprintf("r%d", n)
		if _, err = a.admins.CreateRole(ctx, p, authz.AdministratorRole{Name: role, Permissions: randomPermissions(a.T, r)}); err == nil {
			a.roleNames = append(a.roleNames, role)
		}
	case 10:
		name = "update role"
		_, err = a.admins.UpdateRole(ctx, p, pick(r, a.roleNames), administrators.RolePatch{Permissions: new(randomPermissions(a.T, r))})
	case 11:
		name = "time"
		a.now = a.now.Add(time.Hour)
	}
	if slices.Contains([]string{"roles", "grants", "networks", "end"}, name) {
		_, err = a.admins.Update(ctx, p, ref, patch)
	}
	a.log = append(a.log, fmt.Sprintf("%s by %s on %s: %v", name, p.Name, ref, err))
}

// TestRule_NoAdministratorGetsBeyondItself: whatever sequence of calls an attacker makes, with all
// administrators whose keys it can get, none that it controls, and none that it changed,
// can do what its first one could not; and an owner stays.
func TestRule_NoAdministratorGetsBeyondItself(t *testing.T) {
	sequences, steps := 200, 60
	if testing.Short() {
		sequences = 50
	}
	successes := 0
	for seed := range uint64(sequences) {
		r := rand.New(rand.NewPCG(seed, 1)) // #nosec G404 -- sequences are to be repeatable
		b := newBench(t)
		a := &attack{bench: b, r: r, keys: map[string]bool{}}
		owner := b.owner()
		for i := range 3 {
			role := fmt.Sprintf("own%d", i)
			must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: role, Permissions: randomPermissions(t, r)}))(t)
			a.roleNames = append(a.roleNames, role)
		}
		var first administrators.Made
		for i := range 5 {
			first = must(b.admins.Create(t.Context(), owner, administrators.CreateRequest{Name: fmt.Sprintf("first%d", i), Roles: a.anyRoles(), Grants: randomGrants(t, r), Networks: randomNetworks(r), ExpiresAt: randomEnd(r)}))(t)
		}
		a.keys[first.Keys[0].ID] = true
		power := administrators.PowerOf(&first.Administrator, b.store.a.Roles)
		may := abilities(power)
		before := b.store.a
		for n := range steps {
			a.step(n)
		}
		successes += a.check(first.Administrator.Name, may, before)
		if has, err := b.admins.HasOwner(t.Context()); err != nil || !has {
			t.Fatalf("seed %d: no owner is left: %v\n%s", seed, err, strings.Join(a.log, "\n"))
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(a.log, "\n"))
		}
	}
	if successes < sequences {
		t.Errorf("only %d calls succeeded: the sequences do too little", successes)
	}
}

// check compares what is there with what the attacker could do at first, and returns how
// many calls were successful.
func (a *attack) check(who string, may map[ability]bool, before authz.Administration) (successes int) {
	a.Helper()
	was := map[string]map[ability]bool{}
	for _, x := range before.Administrators {
		was[x.ID] = abilities(administrators.PowerOf(&x, before.Roles))
	}
	controlled := map[string]bool{}
	for _, x := range a.controlled() {
		controlled[x.ID] = true
	}
	for _, x := range a.store.a.Administrators {
		for can := range abilities(administrators.PowerOf(&x, a.store.a.Roles)) {
			if !may[can] && (controlled[x.ID] || !was[x.ID][can]) {
				a.Errorf("%s made %s able to %+v", who, x.Name, can)
				break
			}
		}
	}
	for _, line := range a.log {
		if strings.HasSuffix(line, "<nil>") {
			successes++
		}
	}
	return successes
}
