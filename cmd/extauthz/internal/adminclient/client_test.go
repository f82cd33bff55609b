package adminclient

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"extauthz/authz"
)

// TestClient_KnowsTheServersTime: Date has whole seconds, so a difference of less than
// two seconds does not mean that the clocks differ.
func TestClient_KnowsTheServersTime(t *testing.T) {
	var ahead time.Duration
	var without bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		if without {
			w.Header()["Date"] = nil
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	c, err := New(server.URL, authz.NewSecret("none"), nil)
	if err != nil {
		t.Fatal(err)
	}
	differs := func() time.Duration { return time.Until(c.Now()).Round(time.Minute) }
	if d := differs(); d != 0 {
		t.Errorf("before a call it differs by %v", d)
	}
	for _, want := range []time.Duration{time.Hour, -26 * time.Hour, 0} {
		ahead = want
		if err := c.Call(t.Context(), http.MethodGet, "/", nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		if got := differs(); got != want {
			t.Errorf("a clock that differs by %v is taken to differ by %v", want, got)
		}
	}
	if d := time.Until(c.Now()); d.Abs() > 100*time.Millisecond {
		t.Errorf("clocks that agree differ by %v", d)
	}
	ahead, without = time.Hour, true
	if err := c.Call(t.Context(), http.MethodGet, "/", nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := differs(); got != 0 {
		t.Errorf("without a Date it differs by %v", got)
	}
}
