package envoy

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"extauthz/authz"
)

// rateHeaders tells a client how it stands with its rate, in the fields of the
// IETF's draft (draft-ietf-httpapi-ratelimit-headers-10).
func rateHeaders(l *authz.Limit, headers map[string]string) {
	if l.Rate.IsZero() {
		return
	}
	headers["ratelimit-policy"] = fmt.Sprintf(`"key";q=%d;w=%d`, l.Rate.Count, seconds(l.Rate.Per))
	headers["ratelimit"] = fmt.Sprintf(`"key";r=%d;t=%d`, l.Remaining, seconds(l.Reset))
}

// seconds rounds up: who comes back after them does not come too early.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// rateUnits are the names of Envoy's RateLimitUnit.
var rateUnits = map[time.Duration]string{time.Second: "SECOND", time.Minute: "MINUTE", time.Hour: "HOUR", 24 * time.Hour: "DAY"}

// rateMetadata is a rate in the form that a rate limit's override reads
// (config.route.v3.RateLimit.Override.DynamicMetadata).
func rateMetadata(r authz.Rate) *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		"requests_per_unit": structpb.NewNumberValue(float64(r.Count)),
		"unit":              structpb.NewStringValue(rateUnits[r.Per]),
	}})
}
