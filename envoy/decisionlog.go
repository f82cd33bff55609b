package envoy

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	"extauthz/authz"
)

// denialsPerSecond is how many denials a second are logged: enough to see what
// goes on, and no way to fill a disk by sending bad keys.
const denialsPerSecond = 20

const maxLoggedPath = 256 // bytes

// decisionLog writes one line for a denial, and for the configured share of what
// is allowed. A line holds no query, header, key or digest; a key is named by
// its prefix, and only where its secret was proved.
type decisionLog struct {
	log           *slog.Logger
	sampleAllowed float64

	mu         sync.Mutex
	second     int64
	written    int
	suppressed int
}

func (l *decisionLog) decided(ctx context.Context, d *authz.Decision, r *authz.Request) {
	suppressed := 0
	if d.Allowed {
		if l.sampleAllowed == 0 || rand.Float64() >= l.sampleAllowed {
			return
		}
	} else {
		var ok bool
		if suppressed, ok = l.admit(time.Now().Unix()); !ok {
			return
		}
	}
	attrs := []slog.Attr{slog.String("reason", d.Reason.String()), slog.String("method", clip(r.Method)),
		slog.String("path", clip(d.Path)), slog.String("request_id", clip(header(r, "x-request-id")))}
	if d.Resource != "" {
		attrs = append(attrs, slog.String("resource", clip(d.Resource)), slog.String("action", d.Action))
	}
	if d.Record != nil {
		attrs = append(attrs, slog.String("key", d.Record.Prefix), slog.String("user_id", d.Record.UserID))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("denials_not_logged", suppressed))
	}
	message := "denied"
	if d.Allowed {
		message = "allowed"
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, message, attrs...)
}

// admit tells whether one more denial may be logged in this second, and how many
// were not logged before it.
func (l *decisionLog) admit(second int64) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second != l.second {
		l.second, l.written = second, 0
	}
	if l.written >= denialsPerSecond {
		l.suppressed++
		return 0, false
	}
	l.written++
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}

// secretLike is what a key's secret looks like, wherever a client put it.
var secretLike = regexp.MustCompile(`[0-9A-Za-z]{32,}`)

// clip makes what a client sent fit to be logged: short, and without anything
// that may be a key that stands in the wrong place.
func clip(s string) string {
	s = secretLike.ReplaceAllString(s, "[redacted]")
	if len(s) > maxLoggedPath {
		return s[:maxLoggedPath] + "…"
	}
	return s
}
