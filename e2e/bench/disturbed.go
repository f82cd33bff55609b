package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The work that runs during the checks is far more than on a usual day.
const (
	disturbedRate   = 2000 // checks a second
	revokeEvery     = 50 * time.Millisecond
	warmEvery       = time.Second
	warmedEach      = 10_000 // the default of cache.warm.keys
	disturbedFlush  = "usage: {flush_interval: 5s}"
	disturbedFactor = 2 // a turn takes longer here, so that two flushes fall into it
)

// disturbed measures latencies while keys are revoked, usage is written and keys are
// warmed. It also measures the baseline's latencies, once alone on the machine, and once
// during the same work, since Postgres and the load share the processors here.
func (s *environment) disturbed() {
	database := s.seeded(usual.keys, reference)
	s.within(func(r *run) {
		here := s.on(r)
		x := here.warm(database, false, false, disturbedFlush)
		requests, err := requests(x.keys[:usual.active], "allow", headersMap)
		r.must(err)
		baseline := startBaseline(r, baselineDefault, false)
		beside := func(r *run) func() { return disturb(r, x.api) }
		// During the baseline's turns no usage is written, since the service has no
		// checks then.
		t := takeTurns(r, s.rounds, load{requests: requests, pick: pickUniform, rate: disturbedRate, lasts: disturbedFactor * s.turn},
			participant{target: baseline}, participant{target: x.target, reason: kinds["allow"], beside: beside}, participant{target: baseline, beside: beside})
		table := newTable(fmt.Sprintf("Latency at %s checks a second while keys are made, revoked and warmed and usage is written", count(disturbedRate)),
			"who", "p50 / p99 / p99.9, ms", "service's p99, ratio to it")
		table.add("service"+failures(t[1]), latencies(t[1]), "")
		table.add("baseline, alone", latencies(t[0]), "**"+ratio(t[1], t[0], p99).String()+"**")
		table.add("baseline, beside the same work", latencies(t[2]), "**"+ratio(t[1], t[2], p99).String()+"**")
		s.report(table)
		x.Stop()
	})
}

// disturb makes and revokes keys and warms others until end is called.
func disturb(r *run, a *api) (end func()) {
	ctx, stop := context.WithCancel(r.ctx)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var problems []error
	each := func(every time.Duration, f func() error) {
		workers.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if err := f(); err != nil {
					mu.Lock()
					problems = append(problems, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	each(revokeEvery, func() error {
		var made struct {
			ID string `json:"id"`
		}
		if err := a.call(http.MethodPost, "/v1/keys", newKey, &made); err != nil {
			return err
		}
		return a.call(http.MethodDelete, "/v1/keys/"+made.ID, nil, nil)
	})
	each(warmEvery, func() error {
		return a.call(http.MethodPost, "/v1/cache/warm", map[string]any{"keys": warmedEach}, nil)
	})
	return func() {
		stop()
		workers.Wait()
		r.must(errors.Join(problems...))
	}
}
