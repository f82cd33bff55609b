package authz

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
)

// holdsByHand does what Holds does, without any of its short cuts.
func holdsByHand(f *KeyFormat, text string) bool {
	for range maxDecodings + 1 {
		if holdsOnceByHand(f, text) {
			return true
		}
		var decoded []byte
		for i := 0; i < len(text); i++ {
			if text[i] == '%' && i+2 < len(text) && unhex(text[i+1]) >= 0 && unhex(text[i+2]) >= 0 {
				decoded = append(decoded, byte(unhex(text[i+1])<<4|unhex(text[i+2])))
				i += 2
			} else {
				decoded = append(decoded, text[i])
			}
		}
		text = string(decoded)
	}
	return false
}

func holdsOnceByHand(f *KeyFormat, text string) bool {
	for i := range len(text) {
		plain := ""
		for rest := text[i:]; rest != "" && len(plain) < maxKeyLength; {
			c := rest[0]
			rest = rest[1:]
			for c == '%' && len(rest) >= 2 && unhex(rest[0]) >= 0 && unhex(rest[1]) >= 0 {
				c, rest = byte(unhex(rest[0])<<4|unhex(rest[1])), rest[2:]
			}
			plain += string([]byte{c})
			if _, ok := f.Parse(NewSecret(plain)); ok {
				return true
			}
		}
	}
	return false
}

func scanFormat(t testing.TB) (*KeyFormat, []string) {
	t.Helper()
	f, err := NewKeyFormat(KeyFormatConfig{Brand: "aka", Environments: []string{"live", "li", "a"}})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, environment := range f.Environments() {
		key, _, err := f.Generate(environment, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.Reveal())
	}
	return f, keys
}

func FuzzKeyFormat_HoldsAsByHand(f *testing.F) {
	format, err := NewKeyFormat(KeyFormatConfig{Brand: "aka", Environments: []string{"live", "li", "a"}})
	if err != nil {
		f.Fatal(err)
	}
	key, _, err := format.Generate("li", bytes.NewReader(bytes.Repeat([]byte{7, 201, 13, 66}, 256)))
	if err != nil {
		f.Fatal(err)
	}
	k := key.Reveal()
	for _, seed := range []string{k, "x" + k + "y", "aka_aka_" + k, "%61ka_" + k[4:], "a%6ba%5Fli_" + k[7:], "aka_l%2569_" + k[7:], "%2561ka_" + k[4:], "%25%36%31ka_" + k[4:], "%%36%31ka_" + k[4:], "%6%31ka_" + k[4:], "%61" + k, "%" + k, "%6" + k, k[:20] + "%" + k[20:], k[1:], k[:len(k)-1]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := format.Holds(text), holdsByHand(format, text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	})
}

func TestKeyFormat_FindsAWholeKeyWhereverItIs(t *testing.T) {
	f, keys := scanFormat(t)
	for _, key := range keys {
		encoded := ""
		for i := range len(key) {
			encoded += "%" + string("0123456789abcdef"[key[i]>>4]) + string("0123456789ABCDEF"[key[i]&15])
		}
		for _, form := range []string{key, encoded, strings.ReplaceAll(encoded, "%", "%2525"), key[:3] + encoded[9:], encoded[:9] + key[3:]} {
			for _, around := range []string{"", "x", "aka_", "%", "%a", "%25", "=", strings.Repeat("aka_live_", 500)} {
				if !f.Holds(around + form + around) {
					t.Errorf("%q around a key of %d bytes: not found", around, len(form))
				}
			}
			if f.Holds(form[:len(form)-1]) || f.Holds(strings.Replace(form, key[len(key)-3:], "", 1)) && form == key {
				t.Error("a cut key was found")
			}
		}
		for n := range 1200 { // the key is at each position of the decoder's window
			for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
				if !f.HeaderHolds("basic " + encoding.EncodeToString([]byte(strings.Repeat("~", n)+":"+key+"~~~~"))) {
					t.Fatalf("behind %d bytes in base64: not found", n)
				}
			}
		}
	}
}

func TestKeyFormat_HoldsAllocatesNothingAndEnds(t *testing.T) {
	f, keys := scanFormat(t)
	key := keys[0]
	for _, text := range []string{strings.Repeat("x", 100) + key, "%61ka_" + key[4:], "basic " + base64.StdEncoding.EncodeToString([]byte(key+":")),
		strings.Repeat("aka_", 100), strings.Repeat("%61ka%5f", 100)} {
		if n := testing.AllocsPerRun(100, func() { f.HeaderHolds(text) }); n != 0 {
			t.Errorf("%.10s: %v allocations", text, n)
		}
	}
	// If the time grew with the square of the length, this would not end.
	const long = 4 << 20
	for _, text := range []string{"aka_", "%61", "%2561", "aka_live_", "aka_live_00000000_", "%25", "basic,", "basic YWFh,", "aka_%25", "%61ka_live_AAAAAAAA_" + strings.Repeat("A", 37)} {
		if f.HeaderHolds(strings.Repeat(text, long/len(text))) {
			t.Errorf("%q holds a key", text)
		}
	}
}

func BenchmarkHeaderHolds(b *testing.B) {
	f, _ := scanFormat(b)
	for name, text := range map[string]string{
		"user agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
		"jwt":        "Bearer " + strings.Repeat("eyJhbGciOiJIUzI1NiJ9", 50),
		"4k cookies": strings.Repeat("session=c2Vzc2lvbi10b2tlbi0xMjM; ", 128),
		"4k encoded": strings.Repeat("data=%7B%22a%22%3A1%2C%22b%22%3A%5B1%5D%7D; ", 95),
		"1k basic":   "Basic " + strings.Repeat("YWFh", 250),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f.HeaderHolds(text)
			}
		})
	}
}
