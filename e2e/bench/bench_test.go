package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "baseline" { // a child process that a test has started
		main()
		return
	}
	code := m.Run()
	parts.RemoveBuild()
	os.Exit(code)
}

// TestRun_GivesFigures: the real servers run for a moment.
func TestRun_GivesFigures(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	parts.StartPostgres(t) // without Postgres this test is skipped
	document := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(document, []byte("before\n<!-- checks -->\nold\n<!-- /checks -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := command(t.Context(), []string{"checks", "-keys", "100", "-kind", "allow,missing,malformed,checksum,secret,scope", "-headers", "map,raw", "-rounds", "1", "-turn", "100ms", "-o", document})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	if !strings.HasPrefix(page, "before\n<!-- checks -->\n") || !strings.HasSuffix(page, "<!-- /checks -->\nafter\n") || strings.Contains(page, "old") {
		t.Errorf("the report is not in its place:\n%s", page)
	}
	if n := strings.Count(page, "\n| 100 keys, "); n != 12 {
		t.Errorf("%d lines of 12:\n%s", n, page)
	}
}

// TestRun_WrongAnswerIsAnError: a fast but wrong answer ends the run.
func TestRun_WrongAnswerIsAnError(t *testing.T) {
	err := within(t.Context(), func(r *run) {
		baseline := startBaseline(r, baselineRaw, true)
		requests, err := requests([]string{"ak_live_0000000000000000"}, "missing", headersMap)
		r.must(err)
		if _, err := baseline.drive(r.ctx, load{requests: requests, lasts: 50 * time.Millisecond, looks: 1}); err != nil {
			r.Fatalf("the baseline as a baseline: %v", err)
		}
		_, err = baseline.drive(r.ctx, load{requests: requests, lasts: 50 * time.Millisecond, looks: 1, reason: kinds["missing"]})
		if err == nil || !strings.Contains(err.Error(), `should be "missing_key"`) {
			r.Errorf("an allowed request without a key was taken: %v", err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLoad_OpenLoopCountsFromTheDueTime(t *testing.T) {
	err := within(t.Context(), func(r *run) {
		baseline := startBaseline(r, baselineRaw, true)
		requests, err := requests([]string{"ak_live_0000000000000000"}, "missing", headersMap)
		r.must(err)
		// The rate is far more than the baseline can serve: the last check was due long
		// before it was sent.
		turn, err := baseline.drive(r.ctx, load{requests: requests, rate: 1e6, lasts: 20 * time.Millisecond, looks: 1})
		r.must(err)
		if turn.checks != 20_000 {
			r.Errorf("%d checks of the 20,000 that were due", turn.checks)
		}
		if late := turn.at(1); late < 20*time.Millisecond {
			r.Errorf("the latest answer counts %v", late)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCredential_IsOfItsKind(t *testing.T) {
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	const good = "unknown" // the kind "unknown" is a well-formed key that is not stored
	key, err := credential(good, "")
	if err != nil {
		t.Fatal(err)
	}
	known, ok := format.Parse(authz.NewSecret(key))
	if !ok {
		t.Fatal("a forged key has not the form")
	}
	for _, c := range []struct {
		kind              string
		parses, ownPrefix bool
	}{{"allow", true, true}, {"scope", true, true}, {"secret", true, true}, {good, true, false}, {"checksum", false, false}, {"malformed", false, false}, {"missing", false, false}} {
		text, err := credential(c.kind, key)
		if err != nil {
			t.Fatal(err)
		}
		parsed, ok := format.Parse(authz.NewSecret(text))
		if ok != c.parses || (parsed.Prefix == known.Prefix) != c.ownPrefix || (text == key) != slices.Contains([]string{"allow", "scope"}, c.kind) {
			t.Errorf("%s: of the form: %v, own prefix: %v", c.kind, ok, parsed.Prefix == known.Prefix)
		}
	}
}

func TestRatio_ComparesTurnsOfTheSameRound(t *testing.T) {
	turns := func(cpu ...time.Duration) (all []turn) {
		for _, c := range cpu {
			all = append(all, turn{cpu: c * time.Microsecond})
		}
		return all
	}
	// The machine is twice as slow in the second round, and four times in the third.
	if got := ratio(turns(5, 10, 24), turns(10, 20, 40), cpu).String(); got != "0.50 (0.50–0.60)" {
		t.Errorf("got %s", got)
	}
}

func TestMicro_FastestRunCounts(t *testing.T) {
	got := fastest("goos: linux\nBenchmarkX/a-2  10  120 ns/op  8 B/op  1 allocs/op\nBenchmarkY-2  10  5 ns/op  0 B/op  0 allocs/op\nBenchmarkX/a-2  10  99.5 ns/op  7 B/op  1 allocs/op\nPASS\n")
	if len(got) != 2 || !slices.Equal(got[0], []string{"X/a", "99.5", "7", "1"}) || got[1][0] != "Y" {
		t.Errorf("got %v", got)
	}
}
