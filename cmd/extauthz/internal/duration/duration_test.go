package duration

import (
	"testing"
	"time"
)

func TestParse_DaysAndWeeks(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 30 * Day, "2w": 2 * Week, "1d12h": 36 * time.Hour, "1w2d3h4m5s": Week + 2*Day + 3*time.Hour + 4*time.Minute + 5*time.Second,
		"1.5d": 36 * time.Hour, ".5w": 84 * time.Hour, "-1d": -Day, "-1d12h": -36 * time.Hour, "+2d": 2 * Day, "0d": 0, "12h1d": 36 * time.Hour,
		"720h": 720 * time.Hour, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "0": 0, "106751d": 106751 * Day,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, not %v", text, got, err, want)
		}
	}
}

func TestParse_RefusesTheRest(t *testing.T) {
	for _, text := range []string{"", "d", "w", "5", "30", "1d5", "1dh", "30D", "1 d", "1d 2h", "--1d", "1d-2h", "+-1d", "1y", "1mo", "106752d", "15251w",
		"106751d24h", "1.2.3d", "infd", "0x1d", "1e3d", "１d", "1d\n", "soon"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestPositive_IsOverZero(t *testing.T) {
	for _, text := range []string{"0d", "0", "-1h", "-2w", "x"} {
		if got, err := Positive(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestFromAndAgo_ReadTimesAndDurations(t *testing.T) {
	now := time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)
	if got, err := From("30d", now); err != nil || !got.Equal(now.AddDate(0, 0, 30)) {
		t.Errorf("in 30 days: %v, %v", got, err)
	}
	if got, err := Ago("1d12h", now); err != nil || !got.Equal(now.Add(-36*time.Hour)) {
		t.Errorf("36 hours ago: %v, %v", got, err)
	}
	for _, text := range []string{"2027-01-31T00:00:00Z", "2027-01-31T01:00:00.5+01:00"} {
		want, _ := time.Parse(time.RFC3339Nano, text)
		for _, read := range []func(string, time.Time) (time.Time, error){From, Ago} {
			if got, err := read(text, now); err != nil || !got.Equal(want) {
				t.Errorf("%s: %v, %v", text, got, err)
			}
		}
	}
	for _, text := range []string{"", "-1d", "0s", "tomorrow", "2027-01-31"} {
		if got, err := From(text, now); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

// FuzzParse_AgreesWithGo: a text that Go parses has the same value here, and appending 1d
// to a text makes it one day longer.
func FuzzParse_AgreesWithGo(f *testing.F) {
	for _, text := range []string{"30d", "2w", "1d12h", "-1.5d", "250ms", "1h-1m", "9223372036854775807ns", "+.w"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		want, goErr := time.ParseDuration(text)
		if goErr == nil && (err != nil || got != want) {
			t.Errorf("%q: %v, %v; Go reads %v", text, got, err, want)
		}
		if err != nil {
			return
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Errorf("%q is %v, which is read as %v, %v", text, got, again, err)
		}
		if d, err := Parse(text + "1d"); err == nil && got >= 0 && text != "0" && text != "+0" && text != "-0" && d != got+Day && text[0] != '-' {
			t.Errorf("%q and a day is %v", text, d)
		}
	})
}
