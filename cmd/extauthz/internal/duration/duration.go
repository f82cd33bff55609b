package duration

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Day and Week have a fixed length: even a day on which the clocks change counts 24
// hours.
const (
	Day  = 24 * time.Hour
	Week = 7 * Day
)

// Error reports a text that can't be parsed.
type Error struct {
	Text string
	What string // what is wrong with the text
	Hint string // what to write; never contains the text, which may be a misplaced secret
}

func (e *Error) Error() string { return fmt.Sprintf("%q %s: %s", e.Text, e.What, e.Hint) }

// Parse parses what [time.ParseDuration] does, and also the units d and w.
func Parse(text string) (time.Duration, error) {
	d, err := parse(text)
	if err != nil {
		return 0, &Error{text, "is not a duration", "write a number with a unit, such as 250ms, 10s, 5m, 1h, 30d or 2w"}
	}
	return d, nil
}

// Positive is [Parse] for durations that must be over zero.
func Positive(text string) (time.Duration, error) {
	d, err := Parse(text)
	if err == nil && d <= 0 {
		err = &Error{text, "is not a duration over zero", "write a duration over zero, such as 24h or 30d"}
	}
	return d, err
}

// From parses a time in RFC 3339, or a duration over zero that is added to now.
func From(text string, now time.Time) (time.Time, error) { return instant(text, now, 1) }

// Ago parses a time in RFC 3339, or a duration over zero that is subtracted from now.
func Ago(text string, now time.Time) (time.Time, error) { return instant(text, now, -1) }

func instant(text string, now time.Time, sign time.Duration) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	d, err := Positive(text)
	if err != nil {
		return time.Time{}, &Error{text, "is not a time", "write a duration such as 12h or 30d, or RFC 3339 such as 2027-01-31T00:00:00Z"}
	}
	return now.Add(sign * d), nil
}

var errSyntax = errors.New("no duration")

func parse(text string) (time.Duration, error) {
	if !strings.ContainsAny(text, "dw") {
		return time.ParseDuration(text)
	}
	rest, sign := text, time.Duration(1)
	switch {
	case strings.HasPrefix(text, "-"):
		rest, sign = text[1:], -1
	case strings.HasPrefix(text, "+"):
		rest = text[1:]
	}
	var total time.Duration
	for rest != "" {
		var part string
		part, rest = firstPart(rest)
		d, err := parsePart(part)
		if err != nil || total > math.MaxInt64-d {
			return 0, errSyntax
		}
		total += d
	}
	return sign * total, nil
}

// firstPart splits off the first number with its unit.
func firstPart(text string) (part, rest string) {
	number := func(r rune) bool { return r >= '0' && r <= '9' || r == '.' }
	unit := strings.IndexFunc(text, func(r rune) bool { return !number(r) })
	if unit < 0 {
		return text, ""
	}
	next := strings.IndexFunc(text[unit:], number)
	if next < 0 {
		return text, ""
	}
	return text[:unit+next], text[unit+next:]
}

// parsePart parses one number with one unit and no sign.
func parsePart(part string) (time.Duration, error) {
	if strings.ContainsAny(part, "+-") {
		return 0, errSyntax
	}
	factor := time.Duration(1)
	if number, ok := strings.CutSuffix(part, "w"); ok {
		part, factor = number+"h", Week/time.Hour
	} else if number, ok := strings.CutSuffix(part, "d"); ok {
		part, factor = number+"h", Day/time.Hour
	}
	d, err := time.ParseDuration(part)
	if err != nil || d > math.MaxInt64/factor {
		return 0, errSyntax
	}
	return d * factor, nil
}
