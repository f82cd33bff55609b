package authz

import "testing"

// BenchmarkAuthorize measures the decision alone, with the digest but without codec,
// cache and transport.
func BenchmarkAuthorize(b *testing.B) {
	for _, c := range []struct {
		want Reason
		path string
		key  func(good string) string // nil: none is sent
	}{
		{ReasonGranted, "/orders/42", func(k string) string { return k }},
		{ReasonMissing, "/orders/42", nil},
		{ReasonMalformed, "/orders/42", func(k string) string { return k[:len(k)-1] }},
		{ReasonUnknown, "/orders/42", func(string) string { return freshKey(b) }},
		{ReasonWrongSecret, "/orders/42", wrongSecret},
		{ReasonScope, "/payments/42", func(k string) string { return k }},
	} {
		b.Run(c.want.String(), func(b *testing.B) {
			a, good := authorizer(b, nil)
			r := get(c.path, Header{Name: "accept", Value: "application/json"})
			if c.key != nil {
				r.Headers = append(r.Headers, Header{Name: "x-api-key", Value: c.key(good)})
			}
			b.ReportAllocs()
			for b.Loop() {
				if d, err := a.Check(b.Context(), r); err != nil || d.Reason != c.want {
					b.Fatal(d.Reason, err)
				}
			}
		})
	}
}
