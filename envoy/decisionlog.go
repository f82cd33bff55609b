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

// denialsPerSecond bounds how many denials are logged each second, and how many checks
// that could not be decided. That is enough to see what goes on, and no client can fill a
// disk by sending bad keys.
const denialsPerSecond = 20

const maxLoggedPath = 256 // bytes

// decisionLog writes one line for each denial, up to a limit, and for the configured
// share of allowed checks. A line holds no query, header, key or digest. It names a key
// by its prefix, and only if the key's secret was verified.
type decisionLog struct {
	log *slog.Logger

	denials, failures quota
}

// exposedKey is the reason that is logged for a request that was refused because of
// Decision.Exposed.
const exposedKey = "a whole key would have gone on to the upstream from where the gateway can't remove it: have the client send it where credentials names one, have the proxy strip this place before it asks, or set identity.forward_credential"

// logDecision logs a decision, unless it is an allowed one outside the sample, or one
// above the limit.
func (l *decisionLog) logDecision(ctx context.Context, sample float64, d *authz.Decision, r *authz.Request) {
	suppressed := 0
	shadowed := d.Shadow != authz.ReasonUnspecified
	if d.Allowed && !shadowed {
		if sample == 0 || rand.Float64() >= sample {
			return
		}
	} else {
		var ok bool
		if suppressed, ok = l.denials.admit(time.Now().Unix()); !ok {
			return
		}
	}
	reason, message := d.Reason, "denied"
	switch {
	case shadowed:
		reason, message = d.Shadow, "allowed in shadow mode"
	case d.Allowed:
		message = "allowed"
	}
	attrs := []slog.Attr{slog.String("reason", reason.String()), slog.String("method", clip(r.Method)),
		slog.String("path", clip(d.Path)), slog.String("request_id", clip(lineOf(r, "x-request-id")))}
	if d.PathFault != authz.PathPlain {
		attrs = append(attrs, slog.String("path_fault", d.PathFault.String()))
	}
	if d.Resource != "" {
		attrs = append(attrs, slog.String("resource", clip(d.Resource)), slog.String("action", d.Action))
	}
	if d.Record != nil {
		attrs = append(attrs, slog.String("key", d.Record.Prefix), slog.String("user_id", d.Record.UserID))
	}
	if reason == authz.ReasonNetwork {
		client := "unknown"
		if d.Client.IsValid() {
			client = d.Client.String()
		}
		attrs = append(attrs, slog.String("client", client))
	}
	if d.Exposed.Kind != 0 {
		attrs = append(attrs, slog.String("key_in", clip(d.Exposed.String())), slog.String("why", exposedKey))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("denials_not_logged", suppressed))
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, message, attrs...)
}

// logUndecided logs why no decision could be made. It has the same limit as denials.
func (l *decisionLog) logUndecided(ctx context.Context, err error, r *authz.Request) {
	suppressed, ok := l.failures.admit(time.Now().Unix())
	if !ok {
		return
	}
	attrs := []slog.Attr{slog.String("error", clip(err.Error())), slog.String("method", clip(r.Method)),
		slog.String("request_id", clip(lineOf(r, "x-request-id")))}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("not_logged", suppressed))
	}
	l.log.LogAttrs(ctx, slog.LevelWarn, "undecided", attrs...)
}

// logMisforwarded logs what is wrong with a request as a proxy forwarded it. It shares
// the limit of logUndecided.
func (l *decisionLog) logMisforwarded(ctx context.Context, why, peer string) {
	if _, ok := l.failures.admit(time.Now().Unix()); ok {
		l.log.LogAttrs(ctx, slog.LevelWarn, "forwarding refused", slog.String("why", clip(why)), slog.String("peer", peer))
	}
}

// quota admits a limited number of lines in each second. Safe for concurrent use.
type quota struct {
	mu         sync.Mutex
	second     int64
	written    int
	suppressed int
}

// admit reports whether one more line may be written in this second, and how many lines
// were suppressed since the last one that was.
func (q *quota) admit(second int64) (suppressed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if second != q.second {
		q.second, q.written = second, 0
	}
	if q.written >= denialsPerSecond {
		q.suppressed++
		return 0, false
	}
	q.written++
	suppressed, q.suppressed = q.suppressed, 0
	return suppressed, true
}

// secretLike matches text that looks like a key's secret, wherever a client put it.
var secretLike = regexp.MustCompile(`[0-9A-Za-z]{32,}`)

// clip makes a text that a client sent safe to log: it shortens the text, and redacts
// anything that may be a key in the wrong place.
func clip(s string) string {
	s = secretLike.ReplaceAllString(s, "[redacted]")
	if len(s) > maxLoggedPath {
		return s[:maxLoggedPath] + "…"
	}
	return s
}
