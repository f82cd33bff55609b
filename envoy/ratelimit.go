package envoy

import (
	"fmt"
	"time"

	"extauthz/authz"
)

// rateHeaders shows a client what is left of its rate, in the fields of the
// IETF's draft (draft-ietf-httpapi-ratelimit-headers-10).
func rateHeaders(l *authz.Limit, a *answer) {
	if l.Rate.IsZero() {
		return
	}
	a.orElse("ratelimit-policy", fmt.Sprintf(`"key";q=%d;w=%d`, l.Rate.Count, seconds(l.Rate.Per)))
	a.orElse("ratelimit", fmt.Sprintf(`"key";r=%d;t=%d`, l.Remaining, seconds(l.Reset)))
}

// seconds rounds up, so that a client that waits so many seconds does not come back too
// early.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// rateUnits are the names of Envoy's RateLimitUnit.
var rateUnits = map[time.Duration]string{time.Second: "SECOND", time.Minute: "MINUTE", time.Hour: "HOUR", 24 * time.Hour: "DAY"}

// In the dynamic metadata, a rate has the form that a rate limit's override reads
// (config.route.v3.RateLimit.Override.DynamicMetadata).
const (
	rateFact  = "rate_limit"
	rateCount = "requests_per_unit"
	rateUnit  = "unit"
)
