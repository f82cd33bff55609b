package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

const (
	searchedKeys = 5_000_000
	searchRounds = 41
)

// BenchmarkSearch measures the time of one page of a search among five million keys, from
// the request to the last byte of its answer. `make bench-search` prints it.
func BenchmarkSearch(b *testing.B) {
	for range b.N {
		postgres := parts.StartPostgres(b)
		var dsn string
		services, administrator := replicasOn(b, postgres, 1, func(d string) string {
			dsn = d
			return fmt.Sprintf("database: {driver: postgres, dsn: %q}", d)
		})
		keys := parts.SeedKeysOf(b, dsn, searchedKeys, parts.Shape{User: "customer-%d", Name: "laptop #", Scopes: `[{"resource":"orders","actions":["read"]}]`, Metadata: "{}"})
		prefix := prefixesOf(b, keys[4_000_000:4_000_001])[0]
		for _, s := range []struct{ what, text string }{
			{"a whole prefix", prefix},
			{"the beginning that all prefixes share", prefix[:len("ak_live_")]},
			{"three characters more", prefix[:len("ak_live_")+3]},
			{"a whole name", "laptop 3141592"},
			{"the beginning of 111,111 names", "LAPTOP 31"},
			{"the beginning of all names", "laptop"},
			{"a whole user", "customer-271828"},
			{"the beginning of all users", "customer"},
			{"what no key begins with", "tablet"},
		} {
			var took []time.Duration
			size := 0
			for range searchRounds {
				began := time.Now()
				size = searchPage(b, services[0], administrator, s.text)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			fmt.Printf("%s: %d bytes; median %v, slowest of %d %v\n", s.what, size, took[searchRounds/2].Round(10*time.Microsecond), searchRounds, took[searchRounds-1].Round(10*time.Microsecond))
		}
	}
}

func searchPage(b *testing.B, s *parts.Service, administrator, text string) (size int) {
	b.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.Admin+"/v1/keys?limit=50&q="+url.QueryEscape(text), nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+administrator)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("%d %v", res.StatusCode, err)
	}
	return len(body)
}
