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
	lookOften  = 500 * time.Millisecond // what is in memory: within the lease
	lookAtFile = 2 * time.Second        // certificates
	lookSeldom = 10 * time.Second       // Redis, and a write where none was made
	lookAtRows = 6 * time.Hour          // every row of the table, unhurriedly
	lookAtOld  = 30 * time.Second
	// oldTransaction is how long a transaction may be open.
	oldTransaction = 5 * time.Minute
	// namedTransactions are listed by name; a pool that leaks may have hundreds.
	namedTransactions = 5
	// refusedFor is how long changed certificate files may not belong together: they
	// are written one after the other.
	refusedFor = 5 * time.Second
	// ClockLimit is how far the local clock may be from the database's.
	ClockLimit = time.Second
)

// startChecks run from the first moment, whatever the state of the database.
func (s *Server) startChecks() []conditions.Check {
	return []conditions.Check{{Every: lookAtFile, Look: s.lookAtCertificates}}
}

// checks run once there is a database.
func (s *Server) checks() []conditions.Check {
	return []conditions.Check{
		{Every: lookOften, Look: s.lookAtFeed},
		{Every: lookOften, Look: s.lookAtWrites},
		{Every: lookOften, Look: s.lookAtRedis},
		{Every: lookSeldom, Look: s.probeWrites},
		{Every: lookSeldom, Look: s.lookAtSealing},
		{Every: countEvery, Look: s.lookAtPeppers, Now: s.exchanged},
		{Every: lookAtRows, Look: s.lookAtRows},
		{Every: lookAtOld, Look: s.lookAtTransactions},
		{Every: countEvery, Look: s.lookAtAdministrators},
	}
}

// set makes a condition without a subject active or not.
func set(r *conditions.Registry, name conditions.Name, active bool, text string) {
	if active {
		r.Set(name, "", text)
	} else {
		r.Clear(name, "")
	}
}

// verdicts are the texts of certificates by state and setting.
type verdicts struct{ ending, invalid map[string]string }

func (v *verdicts) add(setting string, state validity.State, text string) {
	switch state {
	case validity.Ending:
		v.ending[setting] = setting + ": " + text
	case validity.Invalid:
		v.invalid[setting] = setting + ": " + text
	}
}

// lookAtCertificates judges what listeners serve, and the files for Redis.
func (s *Server) lookAtCertificates(_ context.Context, r *conditions.Registry) {
	now := time.Now()
	own := verdicts{map[string]string{}, map[string]string{}}
	peers := verdicts{map[string]string{}, map[string]string{}}
	refused := map[string]string{}
	for section, c := range s.certificates() {
		if c == nil {
			continue
		}
		chain, authorities, since, err := c.held()
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

// judgeFiles checks certificates that no listener holds. A file that can't be read
// was refused with the configuration, or is being exchanged.
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

// certificates returns those of the listeners.
func (s *Server) certificates() map[string]*certificates {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.secure
}

// lookAtFeed reports faults of the change feed and of the clock.
func (s *Server) lookAtFeed(ctx context.Context, r *conditions.Registry) {
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

// lookAtWrites reports that writes fail, judged by the outcome of recent writes.
func (s *Server) lookAtWrites(_ context.Context, r *conditions.Registry) {
	f, fail := s.db.WritesFail(time.Now())
	set(r, conditions.WritesFail, fail, f.String())
}

// probeWrites makes a write where no other caller has made one; Postgres is written to by
// each replica's beat.
func (s *Server) probeWrites(ctx context.Context, _ *conditions.Registry) {
	_ = s.db.ProbeWrite(ctx, lookSeldom) // lookAtWrites reports it
}

func (s *Server) lookAtRedis(_ context.Context, r *conditions.Registry) {
	state := s.cache.Status().Shared
	set(r, conditions.RedisDown, state == "open" || state == "half_open", "Redis does not answer within its budget and is left alone")
	set(r, conditions.RedisFull, state == "full", "Redis is full and refuses writes")
}

func (s *Server) lookAtSealing(ctx context.Context, r *conditions.Registry) {
	if conflicts, known := s.cache.SealingConflicts(ctx); known {
		r.Replace(conditions.SealingMismatch, conflicts)
	}
}

func (s *Server) lookAtPeppers(ctx context.Context, r *conditions.Registry) {
	counts, err := s.db.KeysByMissingPepper(ctx, s.policies.authorizer().Peppers.IDs(), s.cache.Now())
	if err != nil {
		return // other conditions show that the database is away
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

func (s *Server) lookAtRows(ctx context.Context, r *conditions.Registry) {
	n, first, err := s.db.UnreadableKeys(ctx, true)
	if err == nil {
		set(r, conditions.RowsUnreadable, n > 0, unreadable(n, first))
	}
}

func unreadable(n int, first error) string { return fmt.Sprintf("%d keys: the first is %v", n, first) }

// lookAtTransactions names the transactions that have been open for long, the oldest
// first.
func (s *Server) lookAtTransactions(ctx context.Context, r *conditions.Registry) {
	old, err := s.db.OldTransactions(ctx, oldTransaction)
	if err != nil {
		return // other conditions show that the database is away
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

// lookAtAdministrators reports that no administrator can manage all keys any more, such as
// when the last owner has expired.
func (s *Server) lookAtAdministrators(ctx context.Context, r *conditions.Registry) {
	if has, err := s.administrators.HasOwner(ctx); err == nil {
		set(r, conditions.NoAdministrator, !has, "no administrator can manage all keys just now: each is disabled, expired, limited, or has no key that works; checks are answered")
	}
}
