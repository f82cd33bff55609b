package printer

import (
	"fmt"
	"math"
	"time"
)

// When writes a time for people, and how far off it is; none stands for no time.
func When(t *time.Time, now time.Time, none string) string {
	if t == nil || t.IsZero() {
		return none
	}
	return t.Local().Format("2006-01-02 15:04:05") + " (" + Distance(t.Sub(now)) + ")"
}

// Off writes only how far off a time is, for a narrow column.
func Off(t *time.Time, now time.Time, none string) string {
	if t == nil || t.IsZero() {
		return none
	}
	return Distance(t.Sub(now))
}

// Distance writes a duration from now on in the nearest unit: "in 30d", "5m ago". It
// rounds, because a key for 30 days has slightly less left when it is shown.
func Distance(d time.Duration) string {
	form := "in %d%s"
	if d < 0 {
		d, form = -d, "%d%s ago"
	}
	round := func(unit time.Duration) int { return int(math.Round(float64(d) / float64(unit))) }
	switch {
	case round(time.Second) < 60:
		return fmt.Sprintf(form, round(time.Second), "s")
	case round(time.Minute) < 60:
		return fmt.Sprintf(form, round(time.Minute), "m")
	case round(time.Hour) < 48:
		return fmt.Sprintf(form, round(time.Hour), "h")
	default:
		return fmt.Sprintf(form, round(24*time.Hour), "d")
	}
}

// CompareTimes orders times. Those that are nil or zero come last.
func CompareTimes(a, b *time.Time) int {
	none := func(t *time.Time) bool { return t == nil || t.IsZero() }
	switch {
	case none(a) && none(b):
		return 0
	case none(a):
		return 1
	case none(b):
		return -1
	}
	return a.Compare(*b)
}
