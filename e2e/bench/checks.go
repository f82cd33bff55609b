package main

import (
	"fmt"
	"slices"
	"strings"
)

// scenario is one line of the table of checks.
type scenario struct {
	keys          int // in the database and in the cache
	active        int // keys that are used; at most as many as keys
	pick          string
	kind          string
	headers       string
	rate          float64 // 0: saturated
	redis, socket bool
}

// usual is the scenario that the goals refer to.
var usual = scenario{keys: 1_000_000, active: 100_000, pick: pickUniform, kind: "allow", headers: headersMap}

func (s scenario) String() string {
	load := "saturated"
	if s.rate > 0 {
		load = fmt.Sprintf("%s a second", count(int(s.rate)))
	}
	words := []string{count(s.keys) + " keys", s.kind, load}
	if s.keys > 1 {
		words = append(words, s.pick)
	}
	if s.headers == headersRaw {
		words = append(words, "raw headers")
	}
	if s.redis {
		words = append(words, "Redis")
	}
	if s.socket {
		words = append(words, "Unix socket")
	}
	return strings.Join(words, ", ")
}

// with returns the scenario with the changes of edit.
func (s scenario) with(edit func(*scenario)) scenario {
	edit(&s)
	return s
}

// headlineScenarios are the scenarios with goals, with headers in the form that our own
// configuration of Envoy sends.
func headlineScenarios() []scenario {
	return []scenario{
		usual,
		usual.with(func(s *scenario) { s.headers = headersRaw }),
		usual.with(func(s *scenario) { s.rate = 5000 }),
		usual.with(func(s *scenario) { s.kind = "malformed" }),
	}
}

// allScenarios vary each dimension by itself.
func allScenarios() []scenario {
	scenarios := headlineScenarios()
	for _, kind := range []string{"missing", "checksum", "unknown", "secret", "scope"} {
		scenarios = append(scenarios, usual.with(func(s *scenario) { s.kind = kind }))
	}
	for _, rate := range []float64{1000, 2000} {
		scenarios = append(scenarios, usual.with(func(s *scenario) { s.rate = rate }))
	}
	scenarios = append(scenarios, usual.with(func(s *scenario) { s.pick = pickZipf }))
	for _, keys := range []int{1, 1000, 100_000} {
		scenarios = append(scenarios, usual.with(func(s *scenario) { s.keys = keys }))
		if keys > 1 {
			scenarios = append(scenarios, usual.with(func(s *scenario) { s.keys, s.pick = keys, pickZipf }))
		}
	}
	hundred := usual.with(func(s *scenario) { s.keys = 100_000 })
	return append(scenarios,
		hundred.with(func(s *scenario) { s.redis = true }),
		hundred.with(func(s *scenario) { s.redis, s.kind = true, "unknown" }),
		hundred.with(func(s *scenario) { s.socket = true }),
		hundred.with(func(s *scenario) { s.socket, s.rate = true, 5000 }),
	)
}

// stack holds what scenarios that run on the same servers have in common.
type stack struct {
	keys          int
	redis, socket bool
}

func (s scenario) stack() stack { return stack{s.keys, s.redis, s.socket} }

// checks plays scenarios, grouped by stack. It calls after, which may be nil, with each
// stack's service while that is still warm from its load.
func (s *environment) checks(scenarios []scenario, after func(*environment, *service)) {
	table := newTable("Checks", "load", "CPU a check, µs: service", "baseline", "raw baseline", "ratio to baseline", "ratio to raw baseline", "checks/s: service, baseline", "p50 / p99 / p99.9, ms: service", "baseline")
	var stacks []stack
	for _, scenario := range scenarios {
		if !slices.Contains(stacks, scenario.stack()) {
			stacks = append(stacks, scenario.stack())
		}
	}
	for _, stack := range stacks {
		database := s.seeded(stack.keys, reference)
		s.within(func(r *run) {
			here := s.on(r)
			service := here.warm(database, stack.redis, stack.socket, "")
			baselines := []*target{startBaseline(r, baselineDefault, stack.socket), startBaseline(r, baselineRaw, stack.socket)}
			for _, scenario := range scenarios {
				if scenario.stack() == stack {
					table.add(here.play(scenario, service, baselines)...)
				}
			}
			if after != nil {
				after(here, service)
			}
			service.Stop()
		})
	}
	s.report(table)
}

// play returns the cells of a scenario.
func (s *environment) play(scenario scenario, service *service, baselines []*target) []string {
	requests, err := requests(service.keys[:min(scenario.active, len(service.keys))], scenario.kind, scenario.headers)
	s.must(err)
	asked := func() float64 {
		return s.metric(service.Service, `extauthz_cache_requests_total{layer="database"`)
	}
	before := asked()
	t := takeTurns(s.run, s.rounds, load{requests: requests, pick: scenario.pick, rate: scenario.rate, lasts: s.turn},
		participant{target: baselines[0]}, participant{target: baselines[1]}, participant{target: service.target, reason: kinds[scenario.kind]})
	baseline, raw, ours := t[0], t[1], t[2]
	perSecond := func(t turn) float64 { return t.perSecond }
	cells := []string{scenario.String() + failures(ours) + lookups(asked()-before, ours),
		fmt.Sprintf("%.1f", median(ours, cpu)), fmt.Sprintf("%.1f", median(baseline, cpu)), fmt.Sprintf("%.1f", median(raw, cpu)),
		"**" + ratio(ours, baseline, cpu).String() + "**", ratio(ours, raw, cpu).String(),
		count(int(median(ours, perSecond))) + ", " + count(int(median(baseline, perSecond))), latencies(ours), latencies(baseline)}
	s.say("%s: ratio %s to the baseline, %s to the raw baseline", cells[0], ratio(ours, baseline, cpu), cells[5])
	return cells
}

// lookups reports checks for which the database was queried, if there were many. The
// cause is keys that did not fit into L1, or a feed that was not read in time because
// other programs kept the machine busy.
func lookups(asked float64, turns []turn) string {
	checks := 0
	for _, t := range turns {
		checks += t.checks
	}
	if asked < .01*float64(checks) {
		return ""
	}
	return fmt.Sprintf(" (the database was asked %s times in %s checks)", count(int(asked)), count(checks))
}

// failures reports checks that ended in an error, if there were any.
func failures(turns []turn) string {
	failed, checks := 0, 0
	for _, t := range turns {
		failed, checks = failed+t.failed, checks+t.checks
	}
	if failed == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s of %s checks failed: no decision in time)", count(failed), count(failed+checks))
}

// count formats a number as in 1,000,000.
func count(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
