package administrators_test

import (
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

// endings are the ways to take the management from the last owner.
func endings(b *bench, p keyring.Principal, ref string) map[string]func() error {
	update := func(patch administrators.Patch) func() error {
		return func() error { _, err := b.admins.Update(b.Context(), p, ref, patch); return err }
	}
	everything := grants(b.T, "*:*", "*")
	everything.Users = []string{"a"}
	return map[string]func() error{
		"remove":          func() error { return b.admins.Remove(b.Context(), p, ref, "", 0) },
		"disable":         func() error { _, err := b.admins.Disable(b.Context(), p, ref); return err },
		"let expire":      update(administrators.Patch{ExpiresAt: new(b.now.Add(time.Hour))}),
		"narrow roles":    update(administrators.Patch{Roles: &[]string{"manager"}}),
		"take grants":     update(administrators.Patch{Grants: &authz.Grants{}}),
		"bound to a user": update(administrators.Patch{Grants: &everything}),
		"other networks":  update(administrators.Patch{Networks: &[]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}),
		"end its key": func() error {
			_, err := b.admins.EndKey(b.Context(), p, ref, b.get(ref).Keys[0].ID)
			return err
		},
	}
}

// TestLastOwner_Stays: no way ends it, for no caller, and nothing is written; with another
// one it can be ended in each way.
func TestLastOwner_Stays(t *testing.T) {
	for name := range endings(newBench(t), keyring.Principal{}, "first-administrator") {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			owner := b.owner()
			b.make(owner, administrators.CreateRequest{Name: "expiring", Roles: []string{"owner"}, Grants: grants(t, "*:*", "*"), ExpiresAt: start.Add(time.Hour)})
			b.make(owner, administrators.CreateRequest{Name: "manager", Roles: []string{"manager"}, Grants: grants(t, "*:*", "*")})
			b.make(owner, administrators.CreateRequest{Name: "shop", Roles: []string{"owner"}, Grants: grants(t, "*:*", "shop")})
			b.make(owner, administrators.CreateRequest{Name: "no-key", Roles: []string{"owner"}, Grants: grants(t, "*:*", "*")})
			b.store.a.Keys[len(b.store.a.Keys)-1].Record.RevokedAt = start
			audit := len(b.store.audit)
			for _, p := range []keyring.Principal{owner, {System: true, Source: "192.0.2.7"}} {
				wantErr(t, endings(b, p, "first-administrator")[name](), administrators.ErrLastOwner)
			}
			if len(b.store.audit) != audit {
				t.Error("a refused change left a row in the audit")
			}
			b.make(owner, administrators.CreateRequest{Name: "second", Roles: []string{"owner"}, Grants: grants(t, "*:*", "*")})
			wantErr(t, endings(b, owner, "first-administrator")[name](), nil)
		})
	}
}

func TestLastOwner_MayRotateAndBeLimitedToNetworksThatItIsIn(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	zero := time.Duration(0)
	must(b.admins.Rotate(t.Context(), owner, "first-administrator", administrators.RotateOptions{Grace: &zero}))(t)
	must(b.admins.Update(t.Context(), owner, "first-administrator", administrators.Patch{Networks: &[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}))(t)
	// Limited already, it counts: another change is none of its networks.
	must(b.admins.Update(t.Context(), owner, "first-administrator", administrators.Patch{Description: new("d")}))(t)
}

// TestLastOwner_WithoutOneTheIssuerStays: where no administrator can do everything, those
// that can create keys are protected.
func TestLastOwner_WithoutOneTheIssuerStays(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	b.make(owner, administrators.CreateRequest{Name: "issuer", Roles: []string{"issuer"}})
	b.make(owner, administrators.CreateRequest{Name: "auditor", Roles: []string{"auditor"}})
	b.store.a.Administrators[0].Active = false // by SQL
	system := keyring.Principal{System: true}
	_, err := b.admins.Disable(t.Context(), system, "issuer")
	wantErr(t, err, administrators.ErrLastOwner)
	must(b.admins.Disable(t.Context(), system, "auditor"))(t)
	if has := must(b.admins.HasOwner(t.Context()))(t); has {
		t.Error("there is an owner")
	}
}

func TestHasOwner_CountsKeysThatWork(t *testing.T) {
	b := newBench(t)
	b.owner()
	if !must(b.admins.HasOwner(t.Context()))(t) {
		t.Error("there is none")
	}
	for name, damage := range map[string]func(*authz.NewKey){
		"revoked":       func(k *authz.NewKey) { k.Record.RevokedAt = start },
		"expired":       func(k *authz.NewKey) { k.Record.ExpiresAt = start },
		"unreadable":    func(k *authz.NewKey) { k.Record.Unreadable = "x" },
		"another brand": func(k *authz.NewKey) { k.Record.Prefix = "xx_live_4fJ9xQ2b" },
		"no pepper":     func(k *authz.NewKey) { k.Verifier.Alg, k.Verifier.PepperID = authz.HashHMACSHA256, "gone" },
	} {
		there := b.store.a.Keys[0]
		damage(&b.store.a.Keys[0])
		if must(b.admins.HasOwner(t.Context()))(t) {
			t.Errorf("%s: it counts", name)
		}
		b.store.a.Keys[0] = there
	}
}

func TestBootstrap_MakesOneOwner(t *testing.T) {
	b := newBench(t)
	given, prefix, err := b.format.Generate("test", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, made, err := b.admins.Bootstrap(t.Context(), authz.NewSecret("nonsense"))
	if made || err == nil {
		t.Fatal("nonsense was taken")
	}
	wantErr(t, err, keyring.ErrInvalid)
	first, made, err := b.admins.Bootstrap(t.Context(), given)
	if err != nil || !made || first.Keys[0].Prefix != prefix || first.Keys[0].Environment != "test" || first.Administrator.Roles[0] != "owner" {
		t.Fatalf("got %+v %v %v", first, made, err)
	}
	if e := b.lastAction(); e.Actor != "bootstrap" || e.Action != "admin.create" {
		t.Errorf("audit %+v", e)
	}
	_, made, err = b.admins.Bootstrap(t.Context(), authz.Secret{})
	if made || err != nil {
		t.Errorf("a second one was made: %v", err)
	}
	b.store.a.Administrators[0].Active = false // by SQL
	if _, made, err = b.admins.Bootstrap(t.Context(), given); made || err != nil {
		t.Errorf("beside a disabled one: %v %v", made, err)
	}
	// Its key revoked by SQL, another one is made beside it.
	b.store.a.Keys[0].Record.RevokedAt = start
	_, _, err = b.admins.Bootstrap(t.Context(), given)
	wantErr(t, err, keyring.ErrRevoked)
	if second, made, err := b.admins.Bootstrap(t.Context(), authz.Secret{}); !made || err != nil || second.Administrator.Name != "first-administrator-2" {
		t.Errorf("beside one without a key: %+v %v %v", second, made, err)
	}
	b.store.a.Administrators, b.store.a.Keys = b.store.a.Administrators[:1], b.store.a.Keys[:1]
	// Removed by SQL, with its key revoked.
	b.store.a.Administrators = nil
	b.store.others = append(b.store.others, b.store.a.Keys[0].Record)
	b.store.others[0].RevokedAt, b.store.a.Keys = start, nil
	_, _, err = b.admins.Bootstrap(t.Context(), given)
	wantErr(t, err, keyring.ErrRevoked)
	b.store.others[0].RevokedAt = time.Time{}
	_, _, err = b.admins.Bootstrap(t.Context(), given)
	wantErr(t, err, authz.ErrConflict)
	if _, made, err = b.admins.Bootstrap(t.Context(), authz.Secret{}); !made || err != nil {
		t.Errorf("a generated key: %v %v", made, err)
	}
}

func TestRecover_MakesAnOwnerWhateverThereIs(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	b.make(owner, administrators.CreateRequest{Name: "recovered", Roles: []string{"auditor"}})
	b.store.a.Administrators[0].Active = false
	key := func() authz.Secret {
		k, _, err := b.format.Generate("live", rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key()
	made, ended, err := b.admins.Recover(t.Context(), administrators.Recovery{Key: first, By: "root@here"})
	if err != nil || len(ended) != 0 || made.Administrator.Name != "recovered-2" || made.Administrator.CreatedBy != "admin recover" {
		t.Fatalf("got %+v %v %v", made, ended, err)
	}
	if e := b.lastAction(); e.Actor != "admin recover" || e.ActorName != "admin recover: root@here" || e.Source != "local" {
		t.Errorf("audit %+v", e)
	}
	_, _, err = b.admins.Recover(t.Context(), administrators.Recovery{Key: first})
	wantErr(t, err, authz.ErrConflict)
	_, _, err = b.admins.Recover(t.Context(), administrators.Recovery{})
	wantErr(t, err, keyring.ErrInvalid)
	made, ended, err = b.admins.Recover(t.Context(), administrators.Recovery{Key: key(), EndOthers: true})
	if err != nil || strings.Join(ended, " ") != "first-administrator recovered recovered-2" {
		t.Fatalf("ended %v: %v", ended, err)
	}
	a := must(b.store.Administration(t.Context()))(t)
	if len(a.Administrators) != 1 || a.Administrators[0].ID != made.Administrator.ID || !must(b.admins.HasOwner(t.Context()))(t) {
		t.Errorf("left: %+v", a.Administrators)
	}
	for _, rec := range b.store.others {
		if rec.RevokedAt.IsZero() {
			t.Errorf("the key %s works still", rec.Prefix)
		}
	}
}
