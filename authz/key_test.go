package authz

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func testFormat(t testing.TB) *KeyFormat {
	t.Helper()
	f, err := NewKeyFormat(KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestKeyFormat_GeneratedKeyParses(t *testing.T) {
	f := testFormat(t)
	for range 1000 {
		key, prefix, err := f.Generate("live", rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := f.Parse(key)
		if !ok || p.Prefix != prefix || p.Environment != "live" || !f.ValidPrefix(prefix) {
			t.Fatalf("a generated key did not parse: %v %v", p, ok)
		}
	}
}

func TestKeyFormat_AnyChangedByteIsMalformed(t *testing.T) {
	f := testFormat(t)
	key, _, err := f.Generate("test", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := key.Reveal()
	for i := range len(s) {
		for _, c := range []byte{'0', 'a', 'Z', '_', 0, 0xff, ','} {
			if s[i] == c {
				continue
			}
			if _, ok := f.Parse(NewSecret(s[:i] + string(c) + s[i+1:])); ok {
				t.Fatalf("byte %d changed to %q was accepted", i, c)
			}
		}
	}
	for _, bad := range []string{"", "a", s[:len(s)-1], s + "0", " " + s, strings.ToUpper(s), strings.Repeat("a", 8192)} {
		if _, ok := f.Parse(NewSecret(bad)); ok {
			t.Fatalf("%d bytes that are no key were accepted", len(bad))
		}
	}
}

func TestKeyFormat_ReportsEveryProblem(t *testing.T) {
	_, err := NewKeyFormat(KeyFormatConfig{Brand: "A b", Environments: []string{"live", "live", "9"}})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Fatalf("want three problems, got %v", err)
	}
}

// hidden holds secrets in unexported fields, on which fmt can't call methods.
type hidden struct {
	secret Secret
	digest Digest
}

func TestSecret_CannotBePrinted(t *testing.T) {
	const text = "hunter2hunter2hunter2"
	sum := sha256.Sum256([]byte(text))
	values := []any{NewSecret(text), NewDigest(sum), hidden{NewSecret(text), NewDigest(sum)},
		&hidden{NewSecret(text), NewDigest(sum)}, map[string]Secret{"a": NewSecret(text)},
		Verifier{Digest: NewDigest(sum)}, []Secret{NewSecret(text)}}
	var out bytes.Buffer
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	got := strings.ToLower(out.String())
	for _, leak := range []string{text, hex.EncodeToString([]byte(text)), hex.EncodeToString(sum[:]),
		strings.Trim(fmt.Sprint(sum), "[]"), strings.Trim(fmt.Sprintf("%d", []byte(text)), "[]")} {
		if strings.Contains(got, leak) {
			t.Errorf("a secret or digest was printed")
		}
	}
}

func testPeppers(t testing.TB, fills ...byte) *Peppers {
	t.Helper()
	var ps []Pepper
	for _, b := range fills {
		p, err := NewPepper(bytes.Repeat([]byte{b}, 32))
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	set, err := NewPeppers(ps)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPeppers_DigestIsHMACOfTheWholeKey(t *testing.T) {
	const key = "ak_live_x"
	m := hmac.New(sha256.New, bytes.Repeat([]byte{1}, 32))
	m.Write([]byte(key))
	got, _ := testPeppers(t, 1).Verifier(NewSecret(key)).Digest.Bytes()
	if !bytes.Equal(got[:], m.Sum(nil)) {
		t.Fatal("the digest differs from crypto/hmac's")
	}
}

func TestPeppers_VerifyAcrossRotation(t *testing.T) {
	key := NewSecret("ak_live_some_key")
	none, old, both, other := testPeppers(t), testPeppers(t, 1), testPeppers(t, 2, 1), testPeppers(t, 3)
	for name, c := range map[string]struct {
		made, verifies *Peppers
		want           bool
	}{
		"plain under plain":        {none, none, true},
		"plain after a pepper":     {none, old, true},
		"old pepper still there":   {old, both, true},
		"pepper gone":              {old, other, false},
		"pepper gone to none":      {old, none, false},
		"new pepper before its at": {both, old, false},
	} {
		if got := c.verifies.Verify(c.made.Verifier(key), key); got != c.want {
			t.Errorf("%s: verified %v, want %v", name, got, c.want)
		}
	}
	if old.Verify(old.Verifier(key), NewSecret("ak_live_some_kez")) {
		t.Error("another key was verified")
	}
	if both.Current(old.Verifier(key)) || !both.Current(both.Verifier(key)) {
		t.Error("Current must report which verifiers are to be made anew")
	}
}

// TestPeppers_RequiredRejectEveryOtherDigest: an attacker who can write to the database
// can't store a digest that makes the attacker's key valid.
func TestPeppers_RequiredRejectEveryOtherDigest(t *testing.T) {
	key, other := NewSecret("ak_live_some_key"), NewSecret("ak_live_another")
	plain, gone := testPeppers(t), testPeppers(t, 3)
	required, err := testPeppers(t, 2, 1).Required()
	if err != nil {
		t.Fatal(err)
	}
	digest := plain.Verifier(key).Digest
	id := required.IDs()[0]
	for name, c := range map[string]struct {
		v       Verifier
		rejects bool // reported to the operator; the others count as wrong secrets
	}{
		"plain SHA-256":                 {plain.Verifier(key), true},
		"plain under a pepper's id":     {Verifier{Alg: HashHMACSHA256, PepperID: id, Digest: digest}, false},
		"plain with a pepper's id":      {Verifier{Alg: HashSHA256, PepperID: id, Digest: digest}, true},
		"a pepper that is gone":         {gone.Verifier(key), true},
		"no pepper's id":                {Verifier{Alg: HashHMACSHA256, Digest: digest}, true},
		"another algorithm":             {Verifier{Alg: "SHA256", Digest: digest}, true},
		"an algorithm of a later time":  {Verifier{Alg: "argon2id", PepperID: id, Digest: digest}, true},
		"another key's digest":          {required.Verifier(other), false},
		"nothing":                       {Verifier{}, false},
		"a known pepper and no digest":  {Verifier{Alg: HashHMACSHA256, PepperID: id}, false},
		"no algorithm, and the decoy's": {Verifier{Digest: required.decoy.Digest}, false},
	} {
		if required.Verify(c.v, key) || required.Rejects(c.v) != c.rejects {
			t.Errorf("%s: verified %v, rejected %v; want it rejected: %v", name, required.Verify(c.v, key), required.Rejects(c.v), c.rejects)
		}
	}
	for _, made := range []*Peppers{testPeppers(t, 1), testPeppers(t, 2)} {
		if v := made.Verifier(key); !required.Verify(v, key) || required.Rejects(v) {
			t.Error("a digest under a known pepper was rejected")
		}
	}
	if _, err := plain.Required(); err == nil {
		t.Error("no pepper was required")
	}
	if !testPeppers(t, 1).Verify(plain.Verifier(key), key) {
		t.Error("a plain digest counts until peppers are required")
	}
}

// TestCheck_RejectedDigestLooksLikeAWrongSecretAndIsReported: a decision reports it, an
// explanation does not.
func TestCheck_RejectedDigestLooksLikeAWrongSecretAndIsReported(t *testing.T) {
	var reported []string
	a, key := authorizer(t, func(c *Config, _ *Record, _ *keys) {
		required, err := testPeppers(t, 9).Required()
		if err != nil {
			t.Fatal(err)
		}
		c.Peppers, c.Unpeppered = required, func(prefix string) { reported = append(reported, prefix) }
	})
	req := get("/orders", Header{Name: "x-api-key", Value: key})
	d, err := a.Check(t.Context(), req)
	if err != nil || d.Allowed || d.Reason != ReasonWrongSecret || d.Record != nil {
		t.Errorf("got %+v, %v", d, err)
	}
	_, steps, err := a.Explain(t.Context(), req)
	if err != nil || !strings.Contains(steps[len(steps)-1].Outcome, "keys.require_pepper") {
		t.Errorf("explained as %+v, %v", steps, err)
	}
	if len(reported) != 1 || !strings.HasPrefix(key, reported[0]) || reported[0] == key {
		t.Errorf("reported %q", reported)
	}
}

func TestPeppers_StoredDigestNeverVerifies(t *testing.T) {
	for _, set := range []*Peppers{testPeppers(t), testPeppers(t, 1)} {
		v := set.Verifier(NewSecret("ak_live_some_key"))
		d, _ := v.Digest.Bytes()
		for _, presented := range []string{string(d[:]), hex.EncodeToString(d[:]), strings.ToUpper(hex.EncodeToString(d[:])), ""} {
			if set.Verify(v, NewSecret(presented)) || set.Verify(Verifier{}, NewSecret(presented)) {
				t.Error("a digest, or nothing, was taken for a key")
			}
		}
	}
	var zero [32]byte
	if testPeppers(t).Verify(Verifier{Alg: "md5", Digest: NewDigest(zero)}, NewSecret("x")) {
		t.Error("an unknown algorithm verified")
	}
}

func TestPeppers_ParsingAndVerifyingAllocatesNothing(t *testing.T) {
	f, set := testFormat(t), testPeppers(t, 1)
	key, _, err := f.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := set.Verifier(key)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := f.Parse(key); !ok || !set.Verify(v, key) {
			t.Fatal("not verified")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
