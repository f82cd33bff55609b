package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"extauthz/e2e/parts"
)

const mib = 1 << 20

// memoryTable is the table with the memory that cached keys take.
func memoryTable() *table {
	return newTable("Memory", "keys in the process", "resident, MiB", "live heap after a collection, MiB", "resident bytes a key")
}

// memoryLine measures a service that has all its keys warm and has just served a load.
// empty is the memory of a service without keys.
func (s *environment) memoryLine(x *service, what string, empty float64) []string {
	resident, err := resident(x.PID())
	s.must(err)
	res, err := http.Get("http://" + x.Ops + "/debug/pprof/heap?gc=1")
	s.must(err)
	_, err = io.Copy(io.Discard, res.Body)
	s.must(err)
	s.must(res.Body.Close())
	live := s.metric(x.Service, "go_memstats_heap_alloc_bytes ")
	cells := []string{what, fmt.Sprintf("**%.0f**", resident/mib), fmt.Sprintf("%.0f", live/mib), ""}
	if n := len(x.keys); n > 0 {
		cells[3] = fmt.Sprintf("%.0f", (resident-empty)/float64(n))
	}
	s.say("memory, %s: %.0f MiB", what, resident/mib)
	return cells
}

// emptyMemory measures a service without keys, and returns its line too.
func (s *environment) emptyMemory() (bytes float64, line []string) {
	s.within(func(r *run) {
		here := s.on(r)
		x := here.warm(s.seeded(0, reference), false, false, "")
		line = here.memoryLine(x, "none", 0)
		var err error
		bytes, err = resident(x.PID())
		r.must(err)
		x.Stop()
	})
	return bytes, line
}

// memory measures the memory for keys of one shape.
func (s *environment) memory(keys int, shape parts.Shape, what string, empty float64) (line []string) {
	database := s.seeded(keys, shape)
	s.within(func(r *run) {
		here := s.on(r)
		x := here.warm(database, false, false, "")
		requests, err := requests(x.keys[:min(len(x.keys), usual.active)], "allow", headersMap)
		r.must(err)
		_, err = x.drive(r.ctx, load{requests: requests, pick: pickUniform, lasts: s.turn, reason: kinds["allow"], looks: lookEvery})
		r.must(err)
		line = here.memoryLine(x, what, empty)
		x.Stop()
	})
	return line
}

const (
	referenceShape = "1,000,000: 36-byte user, 20-byte name, 3 scopes"
	heavyShape     = "1,000,000: the same with 10 scopes and 3 metadata values"
)

// metric returns the sum of a service's metrics whose lines begin with begin; at least
// one has to exist.
func (s *environment) metric(x *parts.Service, begin string) (sum float64) {
	res, err := http.Get("http://" + x.Ops + "/metrics")
	s.must(err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	s.must(err)
	found := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, begin) {
			value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
			s.must(err)
			sum, found = sum+value, true
		}
	}
	if !found {
		s.Fatalf("there is no metric %s", begin)
	}
	return sum
}
