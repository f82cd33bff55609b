package certificates

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func lasting(from, to time.Duration) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: "x"}, NotBefore: now.Add(from), NotAfter: now.Add(to)}
}

func TestJudge_ByLifetime(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		from, to time.Duration
		want     State
	}{
		"a year, just issued":       {-time.Hour, 365 * day, Valid},
		"a year, 15 days left":      {-350 * day, 15 * day, Valid},
		"a year, 13 days left":      {-352 * day, 13 * day, Ending},
		"90 days, renewal due":      {-60 * day, 30 * day, Valid},
		"90 days, 13 days left":     {-77 * day, 13 * day, Ending},
		"a day, renewal due":        {-16 * time.Hour, 8 * time.Hour, Valid},
		"a day, 3 hours left":       {-21 * time.Hour, 3 * time.Hour, Ending},
		"an hour, 20 minutes left":  {-40 * time.Minute, 20 * time.Minute, Valid},
		"an hour, 9 minutes left":   {-51 * time.Minute, 9 * time.Minute, Ending},
		"over since a second":       {-day, -time.Second, Invalid},
		"over since years":          {-900 * day, -700 * day, Invalid},
		"from tomorrow on":          {day, 90 * day, Invalid},
		"ten minutes of clock skew": {10 * time.Minute, 90 * day, Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, text := Judge(now, []*x509.Certificate{lasting(c.from, c.to)})
			if got != c.want || (got == Valid) != (text == "") {
				t.Errorf("got %d, %q", got, text)
			}
		})
	}
}

// TestJudge_ChainsNeedEachPoolsNeedOne: an expired intermediate breaks a chain; an
// expired authority beside its successor breaks nothing.
func TestJudge_ChainsNeedEachPoolsNeedOne(t *testing.T) {
	good, over, ending := lasting(-time.Hour, 1000*time.Hour), lasting(-time.Hour, -time.Minute), lasting(-100*time.Hour, time.Hour)
	if got, text := Judge(now, []*x509.Certificate{good, over, ending}); got != Invalid || !strings.Contains(text, "ended at") {
		t.Errorf("a chain with an intermediate that has ended: %d, %q", got, text)
	}
	for name, c := range map[string]struct {
		pool []*x509.Certificate
		want State
	}{
		"old and new":    {[]*x509.Certificate{over, good}, Valid},
		"old and ending": {[]*x509.Certificate{over, ending}, Ending},
		"ending and old": {[]*x509.Certificate{ending, over}, Ending},
		"old alone":      {[]*x509.Certificate{over}, Invalid},
		"none":           {nil, Invalid},
	} {
		if got, _ := JudgeAny(now, c.pool); got != c.want {
			t.Errorf("%s: %d", name, got)
		}
	}
}
