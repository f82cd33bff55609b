package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profileTime is the length of the CPU profile from which the compiler learns.
const profileTime = 30 * time.Second

// pgo records a CPU profile of the service under the usual load into a file: mostly
// allowed checks, and sometimes each kind of denial.
func (s *environment) pgo(file string) {
	database := s.seeded(100_000, reference)
	s.within(func(r *run) {
		x := s.on(r).warm(database, false, false, "")
		var mixed []load
		for _, form := range []string{headersMap, headersRaw} {
			for _, kind := range []string{"allow", "allow", "allow", "malformed", "unknown", "scope"} {
				requests, err := requests(x.keys[:10_000], kind, form)
				r.must(err)
				mixed = append(mixed, load{requests: requests, pick: pickZipf, lasts: 500 * time.Millisecond, reason: kinds[kind], looks: lookEvery})
			}
		}
		recorded := make(chan error, 1)
		go func() { recorded <- record(x.Ops, file) }()
		s.say("recording a profile for %v", profileTime)
		for i := 0; ; i++ {
			select {
			case err := <-recorded:
				r.must(err)
				x.Stop()
				return
			default:
			}
			if _, err := x.drive(r.ctx, mixed[i%len(mixed)]); err != nil {
				r.Fatal(errors.Join(err, <-recorded))
			}
		}
	})
}

func record(ops, file string) (err error) {
	res, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", ops, profileTime.Seconds()))
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s", res.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, res.Body)
	return errors.Join(err, out.Close())
}

// compare alternates between the build of this tree and another binary, with equal keys
// and settings, each on a database of its own version.
func (s *environment) compare(binary string) {
	database := s.seeded(100_000, reference)
	table := newTable("This build beside "+filepath.Base(binary), "load", "CPU a check, µs: this", "other", "ratio", "p50 / p99 / p99.9, ms: this", "other")
	s.within(func(r *run) {
		here := s.on(r)
		this := here.warm(database, false, false, "")
		theirs := here.seededBy(binary, len(database.keys), reference)
		other := here.warm(theirs, false, false, "")
		for _, scenario := range []scenario{usual, usual.with(func(s *scenario) { s.headers = headersRaw }), usual.with(func(s *scenario) { s.kind = "malformed" }), usual.with(func(s *scenario) { s.kind = "scope" })} {
			scenario.keys = len(database.keys)
			ours, err := requests(database.keys, scenario.kind, scenario.headers)
			r.must(err)
			others, err := requests(theirs.keys, scenario.kind, scenario.headers)
			r.must(err)
			t := takeTurns(r, s.rounds, load{requests: ours, pick: scenario.pick, lasts: s.turn}, participant{target: this.target, reason: kinds[scenario.kind]}, participant{target: other.target, reason: kinds[scenario.kind], requests: others})
			table.add(scenario.String(), fmt.Sprintf("%.1f", median(t[0], cpu)), fmt.Sprintf("%.1f", median(t[1], cpu)), "**"+ratio(t[0], t[1], cpu).String()+"**", latencies(t[0]), latencies(t[1]))
			s.say("%s: ratio %s", scenario, ratio(t[0], t[1], cpu))
		}
		this.Stop()
		other.Stop()
	})
	s.report(table)
}
