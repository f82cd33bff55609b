package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options determine what is measured, and for how long.
type options struct {
	rounds int
	turn   time.Duration
	envoy  string
	tables *[]*table
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// known lists the measurements.
const known = "headline, all, checks, memory, disturbed, cold, create, gateway, own, compare, pgo"

// command is `bench WHAT [flags] [argument]`.
func command(ctx context.Context, args []string) error {
	what := "headline"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		what, args = args[0], args[1:]
	}
	if what == "baseline" { // a child process of this program
		if len(args) != 2 {
			return errors.New("usage: bench baseline default|raw ADDRESS")
		}
		return serveBaseline(args[0], args[1])
	}
	o := options{tables: new([]*table)}
	flags := flag.NewFlagSet("bench "+what, flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "rounds in which each participant is on turn once")
	flags.DurationVar(&o.turn, "turn", 3*time.Second, "how long a turn is")
	flags.StringVar(&o.envoy, "envoy", "1.40.0", "the Envoy of gateway")
	document := flags.String("o", "", "the document that the report is put into, between <!-- WHAT --> and <!-- /WHAT -->")
	scenarios := scenarioFlags(flags)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(flags.Output(), "usage: bench WHAT [flags] [FILE]\nWHAT: %s\n", known)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.rounds < 1 || o.turn <= 0 {
		return errors.New("at least one round, and a turn that takes time, are needed")
	}
	err := within(ctx, func(r *run) {
		s := newSite(r, o)
		r.must(s.measure(what, flags.Args(), scenarios))
	})
	if ctx.Err() != nil || len(*o.tables) == 0 || *document == "" {
		return err
	}
	var report strings.Builder
	report.WriteString(conditions(o))
	for _, t := range *o.tables {
		report.WriteString("\n" + t.String())
	}
	return errors.Join(err, write(*document, what, report.String()))
}

// each runs parts of a run. If one part fails, it still runs the others.
func (s *environment) each(parts ...func(*environment)) error {
	var problems []error
	for _, part := range parts {
		if err := within(s.ctx, func(r *run) { part(s.on(r)) }); err != nil {
			s.say("a part failed: %v", err)
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// measure runs the measurement that the first word names.
func (s *environment) measure(what string, args []string, scenarios func() ([]scenario, error)) error {
	switch what {
	case "headline":
		return s.each(goals(headlineScenarios()), (*environment).disturbed, (*environment).cold, (*environment).create, (*environment).own)
	case "all":
		return s.each(goals(allScenarios()), (*environment).disturbed, (*environment).cold, (*environment).create, (*environment).gateway, (*environment).own)
	case "checks":
		all, err := scenarios()
		if err != nil {
			return err
		}
		s.checks(all, nil)
	case "memory":
		empty, line := s.emptyMemory()
		table := memoryTable()
		table.add(line...)
		table.add(s.memory(usual.keys, reference, referenceShape, empty)...)
		table.add(s.memory(usual.keys, heavy, heavyShape, empty)...)
		s.report(table)
	case "disturbed":
		s.disturbed()
	case "cold":
		s.cold()
	case "create":
		s.create()
	case "gateway":
		s.gateway()
	case "own":
		s.own()
	case "compare", "pgo":
		if len(args) != 1 {
			return fmt.Errorf("usage: bench %s FILE", what)
		}
		file, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		if what == "pgo" {
			s.pgo(file)
		} else {
			s.compare(file)
		}
	default:
		return fmt.Errorf("no figures called %q: write one of %s", what, known)
	}
	return nil
}

// goals plays scenarios, and measures the memory of the service that played the usual
// ones.
func goals(scenarios []scenario) func(*environment) {
	return func(s *environment) {
		empty, none := s.emptyMemory()
		memory := memoryTable()
		memory.add(none...)
		s.checks(scenarios, func(here *environment, x *service) {
			if len(x.keys) == usual.keys {
				memory.add(here.memoryLine(x, referenceShape, empty)...)
			}
		})
		memory.add(s.memory(usual.keys, heavy, heavyShape, empty)...)
		s.report(memory)
	}
}

// scenarioFlags defines a flag for each dimension of checks; all combinations of the
// listed values are played.
func scenarioFlags(flags *flag.FlagSet) func() ([]scenario, error) {
	keys := flags.String("keys", strconv.Itoa(usual.keys), "checks: keys in the database and the cache, a list")
	active := flags.Int("active", usual.active, "checks: how many of them are used")
	picks := flags.String("pick", usual.pick, "checks: how a key is picked: uniform, zipf")
	which := flags.String("kind", usual.kind, "checks: allow, missing, malformed, checksum, unknown, secret, scope")
	forms := flags.String("headers", usual.headers, "checks: as Envoy sends them by default (map) or with encode_raw_headers (raw)")
	rates := flags.String("rate", "0", "checks: checks a second; 0: as many as possible")
	redis := flags.String("redis", "false", "checks: whether Redis is there")
	socket := flags.String("socket", "false", "checks: whether gRPC is on a Unix socket")
	return func() ([]scenario, error) {
		scenarios := []scenario{{active: *active}}
		var problems []error
		each := func(list string, set func(*scenario, string) error) {
			var more []scenario
			for _, s := range scenarios {
				for value := range strings.SplitSeq(list, ",") {
					problems = append(problems, set(&s, strings.TrimSpace(value)))
					more = append(more, s)
				}
			}
			scenarios = more
		}
		among := func(into *string, value string, known ...string) error {
			*into = value
			for _, k := range known {
				if value == k {
					return nil
				}
			}
			return fmt.Errorf("%q is none of %s", value, strings.Join(known, ", "))
		}
		each(*keys, func(s *scenario, v string) (err error) { s.keys, err = strconv.Atoi(v); return err })
		each(*picks, func(s *scenario, v string) error { return among(&s.pick, v, pickUniform, pickZipf) })
		each(*which, func(s *scenario, v string) error {
			return among(&s.kind, v, "allow", "missing", "malformed", "checksum", "unknown", "secret", "scope")
		})
		each(*forms, func(s *scenario, v string) error { return among(&s.headers, v, headersMap, headersRaw) })
		each(*rates, func(s *scenario, v string) (err error) { s.rate, err = strconv.ParseFloat(v, 64); return err })
		each(*redis, func(s *scenario, v string) (err error) { s.redis, err = strconv.ParseBool(v); return err })
		each(*socket, func(s *scenario, v string) (err error) { s.socket, err = strconv.ParseBool(v); return err })
		return scenarios, errors.Join(problems...)
	}
}
