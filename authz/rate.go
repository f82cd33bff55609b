package authz

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r.Count == 0 }

// maxRate is the highest count of a rate: at that many requests a second, one costs a
// nanosecond, which is the unit of the Limiter's counters.
const maxRate = 1_000_000_000

var rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// ParseRate reads "100/s", "6000/m", "10/h" or "5/d"; "" is the zero Rate.
func ParseRate(text string) (Rate, error) {
	if text == "" {
		return Rate{}, nil
	}
	count, unit, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	per, known := rateUnits[unit]
	if err != nil || !known || n < 1 || n > maxRate {
		return Rate{}, fmt.Errorf("rate %q: write a number from 1 to %d and s, m, h or d, such as 100/s", text, maxRate)
	}
	return Rate{Count: n, Per: per}, nil
}

// String returns the form that ParseRate reads.
func (r Rate) String() string {
	if r.IsZero() {
		return ""
	}
	for unit, per := range rateUnits {
		if per == r.Per {
			return strconv.Itoa(r.Count) + "/" + unit
		}
	}
	return strconv.Itoa(r.Count) + "/" + r.Per.String()
}
