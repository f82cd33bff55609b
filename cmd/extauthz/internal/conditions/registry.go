package conditions

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Condition is one fault that is present now.
type Condition struct {
	Name Name `json:"name"`
	// Subject distinguishes occurrences of one condition, such as the certificates of two
	// listeners. It is empty if there can be only one.
	Subject  string    `json:"subject,omitempty"`
	Severity Severity  `json:"severity"`
	NotReady bool      `json:"not_ready,omitempty"`
	Text     string    `json:"text"`   // what is wrong, and why
	Remedy   string    `json:"remedy"` // what to do
	Since    time.Time `json:"since"`  // by the local clock
}

type occurrence struct {
	name    Name
	subject string
}

// Registry holds the conditions of one process. It is safe for concurrent use.
type Registry struct {
	log     *slog.Logger
	now     func() time.Time
	known   map[Name]Definition
	gauge   *prometheus.GaugeVec
	blocked atomic.Int64 // number of active conditions that are NotReady
	changed func(ready bool)

	mu     sync.Mutex
	active map[occurrence]Condition
}

// Config holds what a Registry needs.
type Config struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil: time.Now
	// ReadyChanged is called with false when the first NotReady condition begins, and
	// with true when the last one ends; nil: no call. It must not call the Registry.
	ReadyChanged func(ready bool)
}

// New makes a registry for the [Known] conditions, none of which is active.
func New(c Config) *Registry {
	r := &Registry{log: c.Logger, now: c.Now, changed: c.ReadyChanged, known: map[Name]Definition{}, active: map[occurrence]Condition{},
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "extauthz_condition",
			Help: "1 while the named condition is present, else 0; /readyz has the text."}, []string{"name", "severity"})}
	if r.now == nil {
		r.now = time.Now
	}
	for _, d := range Known() {
		r.known[d.Name] = d
		r.gauge.WithLabelValues(string(d.Name), string(d.Severity)).Set(0)
	}
	c.Registerer.MustRegister(r.gauge)
	return r
}

// Set begins a condition and logs it. If the condition is active already, Set only
// replaces its text and logs nothing. The text says what is wrong and why, and must hold
// no secret. Set panics for a name that [Known] lacks, which is a programming error.
func (r *Registry) Set(name Name, subject, text string) {
	d, ok := r.known[name]
	if !ok {
		panic(fmt.Sprintf("conditions: %q is not defined in known.go", name))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := occurrence{name, subject}
	c, there := r.active[o]
	if there {
		c.Text = text
		r.active[o] = c
		return
	}
	c = Condition{Name: name, Subject: subject, Severity: d.Severity, NotReady: d.NotReady, Text: text, Remedy: d.Remedy, Since: r.now().UTC()}
	r.active[o] = c
	r.gauge.WithLabelValues(string(name), string(d.Severity)).Set(1)
	if d.NotReady && r.blocked.Add(1) == 1 && r.changed != nil {
		r.changed(false)
	}
	level := map[Severity]slog.Level{Info: slog.LevelInfo, Warning: slog.LevelWarn, Critical: slog.LevelError}[d.Severity]
	r.log.LogAttrs(context.Background(), level, "condition began: "+d.Title, c.attrs(slog.String("what", text), slog.String("do", d.Remedy))...)
}

// Clear ends a condition and logs it. It does nothing if the condition is not active.
func (r *Registry) Clear(name Name, subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := occurrence{name, subject}
	c, there := r.active[o]
	if !there {
		return
	}
	delete(r.active, o)
	d := r.known[name]
	if !r.anyLocked(name) {
		r.gauge.WithLabelValues(string(name), string(d.Severity)).Set(0)
	}
	if d.NotReady && r.blocked.Add(-1) == 0 && r.changed != nil {
		r.changed(true)
	}
	r.log.LogAttrs(context.Background(), slog.LevelInfo, "condition ended: "+d.Title, c.attrs(slog.String("lasted", r.now().Sub(c.Since).Round(time.Millisecond).String()))...)
}

// Replace makes the given subjects, with their texts, the only active ones of a
// condition.
func (r *Registry) Replace(name Name, texts map[string]string) {
	for _, c := range r.Active() {
		if _, stays := texts[c.Subject]; c.Name == name && !stays {
			r.Clear(name, c.Subject)
		}
	}
	for subject, text := range texts {
		r.Set(name, subject, text)
	}
}

var rank = map[Severity]int{Critical: 0, Warning: 1, Info: 2}

// Active returns the active conditions, ordered by severity (critical first), name and
// subject; never nil.
func (r *Registry) Active() []Condition {
	r.mu.Lock()
	all := make([]Condition, 0, len(r.active))
	for _, c := range r.active {
		all = append(all, c)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b Condition) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Subject, b.Subject))
	})
	return all
}

// Present reports whether the condition is active, for any subject.
func (r *Registry) Present(name Name) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.anyLocked(name)
}

// Ready reports whether no condition that is NotReady is active.
func (r *Registry) Ready() bool { return r.blocked.Load() == 0 }

func (r *Registry) anyLocked(name Name) bool {
	for o := range r.active {
		if o.name == name {
			return true
		}
	}
	return false
}

func (c Condition) attrs(more ...slog.Attr) []slog.Attr {
	attrs := []slog.Attr{slog.String("condition", string(c.Name))}
	if c.Subject != "" {
		attrs = append(attrs, slog.String("subject", c.Subject))
	}
	return append(attrs, more...)
}
