package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/cmd/extauthz/internal/config"
)

// State is the result of one examination.
type State string

// The states.
const (
	OK      State = "ok"
	Warning State = "warning" // something needs attention, but nothing fails yet
	Failed  State = "failed"
	Skipped State = "skipped" // there is nothing to examine, or an earlier failure prevents it
)

// Result is one line of the report.
type Result struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Text   string `json:"text"`             // what was found
	Remedy string `json:"remedy,omitempty"` // what to do
}

// Service is what a running service reports about itself.
type Service struct {
	State      string
	Conditions []conditions.Condition
}

// Config says what to examine.
type Config struct {
	// Settings is nil if only a service is to be queried.
	Settings *config.Config
	// QueryService queries the running service; an error means that none answers.
	QueryService func(context.Context) (Service, error)
	// Remote: a service must answer. Otherwise it is no failure if none runs.
	Remote bool
	Now    func() time.Time
}

// budget limits the time of one examination, except the one that reads every row.
const budget = 15 * time.Second

// report collects results.
type report struct {
	c       Config
	results []Result
}

func (r *report) add(name string, state State, remedy, format string, args ...any) {
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	r.results = append(r.results, Result{Name: name, State: state, Text: text, Remedy: remedy})
}

// Examine examines everything. It returns a result after those that it depends on.
func Examine(ctx context.Context, c Config) []Result {
	r := &report{c: c}
	if c.Settings != nil {
		r.configuration()
		r.certificates()
		r.database(ctx)
		r.redis(ctx)
	}
	r.service(ctx)
	return r.results
}

// Failures counts the failed results.
func Failures(results []Result) (n int) {
	for _, r := range results {
		if r.State == Failed {
			n++
		}
	}
	return n
}

func (r *report) configuration() {
	s := r.c.Settings
	r.add("configuration", OK, "", "it is valid")
	for _, w := range s.Warnings(r.c.Now()) {
		r.add("configuration", Warning, "see what extauthz config check prints, and change it unless it is meant so", "%s", w)
	}
	if s.Cache.Redis.Budget >= checkBudget && len(s.Cache.Redis.Addresses) > 0 {
		r.add("configuration", Warning, "lower cache.redis.budget below it", "cache.redis.budget is %s, and a check has %s before it is undecided: a slow Redis takes all of it", s.Cache.Redis.Budget, checkBudget)
	}
}

func (r *report) certificates() {
	files := r.c.Settings.CertificateFiles()
	for _, f := range files {
		state, text, err := f.Judge(r.c.Now())
		remedy := "renew it; a listener uses new files without a restart"
		switch {
		case err != nil:
			r.add(f.Setting, Failed, "write a PEM file with the certificate", "%s: %v", f.Path, err)
		case text == "":
			r.add(f.Setting, OK, "", "%s is valid", f.Path)
		default:
			r.add(f.Setting, []State{OK, Warning, Failed}[state], remedy, "%s", text)
		}
	}
}

// service reports the state and the conditions of the running service.
func (r *report) service(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	s, err := r.c.QueryService(limited)
	switch {
	case err != nil && r.c.Remote:
		r.add("service", Failed, "start it, or correct --server and the token", "%v", err)
		return
	case err != nil:
		r.add("service", Skipped, "", "none is running here: %v", err)
		return
	case s.State == "serving":
		r.add("service", OK, "", "it is serving")
	default:
		r.add("service", Failed, "see the conditions below, and its log", "it is %s", s.State)
	}
	for _, c := range s.Conditions {
		r.add(conditionName("service", c), conditionState(c), c.Remedy, "%s, since %s", c.Text, c.Since.Format(time.RFC3339))
	}
}

func conditionName(of string, c conditions.Condition) string {
	name := of + ": " + string(c.Name)
	if c.Subject != "" {
		name += " (" + c.Subject + ")"
	}
	return name
}

func conditionState(c conditions.Condition) State {
	switch c.Severity {
	case conditions.Critical:
		return Failed
	case conditions.Warning:
		return Warning
	}
	return OK
}

// quiet returns a logger that writes nothing: doctor itself reports what packages would
// log.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
