package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"extauthz/cachesvc"
	validity "extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

// How often conditions are polled.
const (
	fastCheckInterval        = 500 * time.Millisecond // of state in memory; shorter than the default lease
	fileCheckInterval        = 2 * time.Second        // of certificates
	slowCheckInterval        = 10 * time.Second       // of Redis, and a write if there was no other
	rowCheckInterval         = 6 * time.Hour          // of every row of the table, which takes long
	rowRecheckInterval       = time.Minute            // of every row, while there is an unreadable one
	transactionCheckInterval = 30 * time.Second
	// oldTransaction is the age at which an open transaction becomes a condition.
	oldTransaction = 5 * time.Minute
	// namedTransactions limits how many are listed by name; a leaking pool may have
	// hundreds.
	namedTransactions = 5
	// refusedFor is how long changed certificate files may not match without a condition.
	// They are written one after the other.
	refusedFor = 5 * time.Second
	// ClockLimit is the largest accepted difference between the local clock and the
	// database's.
	ClockLimit = time.Second
)

// startChecks returns the checks that run from the first moment, with or without a
// database.
func (s *Server) startChecks() []conditions.Check {
	return []conditions.Check{{Every: fileCheckInterval, Run: s.checkCertificates}}
}

// checks returns the checks that run once there is a database.
func (s *Server) checks() []conditions.Check {
	return []conditions.Check{
		{Every: fastCheckInterval, Run: s.checkFeed},
		{Every: fastCheckInterval, Run: s.checkWrites},
		{Every: fastCheckInterval, Run: s.checkRedis},
		{Every: slowCheckInterval, Run: s.probeWrites},
		{Every: slowCheckInterval, Run: s.checkSealing},
		{Every: countEvery, Run: s.checkPeppers, Now: s.exchanged},
		{Every: rowCheckInterval, Run: s.checkRows},
		{Every: rowRecheckInterval, Run: s.recheckRows},
		{Every: transactionCheckInterval, Run: s.checkTransactions},
		{Every: countEvery, Run: s.checkAdministrators},
		{Every: slowCheckInterval, Run: s.recheckAdministrators},
	}
}

// set begins or ends a condition that has no subject.
func set(r *conditions.Registry, name conditions.Name, active bool, text string) {
	if active {
		r.Set(name, "", text)
	} else {
		r.Clear(name, "")
	}
}

// verdicts holds texts about certificates that are ending or invalid, by setting.
type verdicts struct{ ending, invalid map[string]string }

func (v *verdicts) add(setting string, state validity.State, text string) {
	switch state {
	case validity.Ending:
		v.ending[setting] = setting + ": " + text
	case validity.Invalid:
		v.invalid[setting] = setting + ": " + text
	}
}

// checkCertificates judges the certificates that listeners serve, and the files for
// Redis.
func (s *Server) checkCertificates(_ context.Context, r *conditions.Registry) {
	now := time.Now()
	own := verdicts{map[string]string{}, map[string]string{}}
	peers := verdicts{map[string]string{}, map[string]string{}}
	refused := map[string]string{}
	for section, c := range s.certificates() {
		if c == nil {
			continue
		}
		chain, authorities, since, err := c.inUse()
		state, text := validity.Judge(now, chain)
		own.add(section+".tls.cert_file", state, text)
		if c.settings.ClientCAFile != "" {
			state, text = validity.JudgeAny(now, authorities)
			peers.add(section+".tls.client_ca_file", state, text)
		}
		if err != nil && now.Sub(since) > refusedFor {
			refused[section+".tls"] = fmt.Sprintf("%s.%v", section, err)
		}
	}
	judgeFiles(s.current(), now, &own, &peers)
	r.Replace(conditions.CertificateEnds, own.ending)
	r.Replace(conditions.CertificateInvalid, own.invalid)
	r.Replace(conditions.AuthorityEnds, peers.ending)
	r.Replace(conditions.AuthorityInvalid, peers.invalid)
	r.Replace(conditions.CertificateRefused, refused)
}

// judgeFiles judges certificates that no listener holds. It ignores files that can't be
// read: they were refused with the configuration, or are being replaced.
func judgeFiles(c *config.Config, now time.Time, own, peers *verdicts) {
	for _, f := range c.CertificateFiles() {
		state, text, err := f.Judge(now)
		switch {
		case err != nil || !strings.HasPrefix(f.Setting, "cache."):
		case f.Authorities:
			peers.add(f.Setting, state, text)
		default:
			own.add(f.Setting, state, text)
		}
	}
}

// certificates returns the listeners' certificates, by section.
func (s *Server) certificates() map[string]*certificates {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.secure
}

// checkFeed reports faults of the change feed and of the clock.
func (s *Server) checkFeed(ctx context.Context, r *conditions.Registry) {
	if s.db.FollowFile() {
		s.log.Warn("another file is at the database's path than the one that was open: it is opened from now on; stop the service before exchanging its file")
	}
	st := s.cache.Status()
	f, failed := models.FaultOf(s.cache.FeedError())
	failed = failed && ctx.Err() == nil
	missing := failed && f.Kind == models.FaultSchemaMissing
	set(r, conditions.SchemaMissing, missing, f.String())
	failed = failed && !missing && !st.LeaseFresh
	down := failed && f.Passes() && f.Kind != models.FaultPermission && f.Kind != models.FaultIO
	text := f.String()
	if st.State == cachesvc.StateExhausted {
		text += "; it is away for longer than cache.local.max_stale, and every check fails"
	}
	set(r, conditions.DatabaseDown, down, text)
	set(r, conditions.FeedBehind, failed && !down, text)
	set(r, conditions.UsageExposed, st.UsageExposed, fmt.Sprintf("%d uses are in memory alone, since neither database nor Redis nor a file takes them", st.UsagePending))
	off := st.DatabaseAhead.Abs() > ClockLimit
	set(r, conditions.ClockOff, off, fmt.Sprintf("the database's clock is %s from the local one (ahead, unless negative); keys expire by the database's while it answers", st.DatabaseAhead.Round(time.Millisecond)))
}

// checkWrites reports whether writes to the database fail, judged by recent ones.
func (s *Server) checkWrites(_ context.Context, r *conditions.Registry) {
	f, fail := s.db.WritesFail(time.Now())
	set(r, conditions.WritesFail, fail, f.String())
}

// probeWrites makes a write if no other caller has made one. On Postgres the regular beat
// of each replica is such a write.
func (s *Server) probeWrites(ctx context.Context, _ *conditions.Registry) {
	_ = s.db.ProbeWrite(ctx, slowCheckInterval) // checkWrites reports an error
}

func (s *Server) checkRedis(_ context.Context, r *conditions.Registry) {
	state := s.cache.Status().Shared
	set(r, conditions.RedisDown, state == "open" || state == "half_open", "Redis does not answer within its budget and is left alone")
	set(r, conditions.RedisFull, state == "full", "Redis is full and refuses writes")
}

func (s *Server) checkSealing(ctx context.Context, r *conditions.Registry) {
	if conflicts, known := s.cache.SealingConflicts(ctx); known {
		r.Replace(conditions.SealingMismatch, conflicts)
	}
}

func (s *Server) checkPeppers(ctx context.Context, r *conditions.Registry) {
	counts, err := s.db.KeysByMissingPepper(ctx, s.policies.authorizer().Peppers.IDs(), s.cache.Now())
	if err != nil {
		return // other conditions report that the database is away
	}
	texts := map[string]string{}
	for id, n := range counts {
		texts[id] = missingPepper(id, n)
	}
	r.Replace(conditions.PepperMissing, texts)
}

func missingPepper(id string, keys int64) string {
	return fmt.Sprintf("%d keys were made with pepper %q, which no file in keys.pepper_files holds: they are refused like wrong ones (invalid_key)", keys, id)
}

func (s *Server) checkRows(ctx context.Context, r *conditions.Registry) {
	s.inspectRows(ctx, r, true)
}

// recheckRows inspects the rows where a check of a request met an unreadable one since the
// last time, and until all are readable again.
func (s *Server) recheckRows(ctx context.Context, r *conditions.Registry) {
	if s.db.MetUnreadable() || r.Present(conditions.RowsUnreadable) {
		s.inspectRows(ctx, r, false)
	}
}

// inspectRows reads every row, and leaves the condition as it is if that fails.
func (s *Server) inspectRows(ctx context.Context, r *conditions.Registry, unhurried bool) {
	n, first, err := s.db.UnreadableKeys(ctx, unhurried)
	if err == nil {
		set(r, conditions.RowsUnreadable, n > 0, unreadable(n, first))
	}
}

// recheckAdministrators ends the condition soon after there is an administrator again.
func (s *Server) recheckAdministrators(ctx context.Context, r *conditions.Registry) {
	if r.Present(conditions.NoAdministrator) {
		s.checkAdministrators(ctx, r)
	}
}

func unreadable(n int, first error) string { return fmt.Sprintf("%d keys: the first is %v", n, first) }

// checkTransactions reports the transactions that have been open for long, the oldest
// first.
func (s *Server) checkTransactions(ctx context.Context, r *conditions.Registry) {
	old, err := s.db.OldTransactions(ctx, oldTransaction)
	if err != nil {
		return // other conditions report that the database is away
	}
	s.oldest.Set(0)
	texts := map[string]string{}
	for i, t := range old {
		if i == 0 {
			s.oldest.Set(t.Age.Seconds())
		}
		if i < namedTransactions {
			texts[t.Name()] = t.String()
		}
	}
	r.Replace(conditions.TransactionOld, texts)
}

// checkAdministrators reports that no administrator can manage all keys any more, for
// example since the last owner has expired.
func (s *Server) checkAdministrators(ctx context.Context, r *conditions.Registry) {
	if has, err := s.administrators.HasOwner(ctx); err == nil {
		set(r, conditions.NoAdministrator, !has, "no administrator can manage all keys just now: each is disabled, expired, limited, or has no key that works; checks are answered")
	}
}
