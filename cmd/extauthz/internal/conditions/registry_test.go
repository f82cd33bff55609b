package conditions

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func newTest(t *testing.T) (r *Registry, log func() []string, metrics *prometheus.Registry) {
	t.Helper()
	var mu sync.Mutex
	var text bytes.Buffer
	metrics = prometheus.NewRegistry()
	r = New(Config{Registerer: metrics, Logger: slog.New(slog.NewTextHandler(&locked{mu: &mu, b: &text}, nil))})
	return r, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return strings.FieldsFunc(text.String(), func(r rune) bool { return r == '\n' })
	}, metrics
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func value(t *testing.T, m *prometheus.Registry, name Name) float64 {
	t.Helper()
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			for _, l := range x.GetLabel() {
				if l.GetName() == "name" && l.GetValue() == string(name) {
					return x.GetGauge().GetValue()
				}
			}
		}
	}
	t.Fatalf("no metric for %s", name)
	return -1
}

func TestRegistry_LogsOnceWhenAConditionBeginsAndEnds(t *testing.T) {
	r, log, metrics := newTest(t)
	for range 5 {
		r.Set(WritesFail, "", "the disk is full")
	}
	if got := log(); len(got) != 1 || !strings.Contains(got[0], "level=ERROR") || !strings.Contains(got[0], "condition=database_writes_fail") || !strings.Contains(got[0], "the disk is full") {
		t.Errorf("logged %q", got)
	}
	if value(t, metrics, WritesFail) != 1 || len(r.Active()) != 1 {
		t.Error("the condition is not active")
	}
	for range 5 {
		r.Clear(WritesFail, "")
	}
	if got := log(); len(got) != 2 || !strings.Contains(got[1], "condition ended") {
		t.Errorf("logged %q", got)
	}
	if value(t, metrics, WritesFail) != 0 || len(r.Active()) != 0 {
		t.Error("the condition is still active")
	}
}

func TestRegistry_SubjectsBeginAndEndApart(t *testing.T) {
	r, log, metrics := newTest(t)
	r.Replace(CertificateInvalid, map[string]string{"grpc": "over", "admin": "over"})
	r.Replace(CertificateInvalid, map[string]string{"grpc": "over"})
	if value(t, metrics, CertificateInvalid) != 1 || len(r.Active()) != 1 || r.Active()[0].Subject != "grpc" {
		t.Errorf("active: %v", r.Active())
	}
	r.Replace(CertificateInvalid, nil)
	if value(t, metrics, CertificateInvalid) != 0 || len(log()) != 4 {
		t.Errorf("logged %q", log())
	}
}

func TestRegistry_ReadyOnlyWithoutBlockingConditions(t *testing.T) {
	var changes []bool
	r := New(Config{Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), ReadyChanged: func(ready bool) { changes = append(changes, ready) }})
	r.Set(ClockOff, "", "by an hour")
	if !r.Ready() {
		t.Error("a warning makes the service not ready")
	}
	r.Set(MigrationFailed, "", "permission denied")
	if r.Ready() {
		t.Error("ready though it must not be")
	}
	r.Clear(MigrationFailed, "")
	if !r.Ready() || !slices.Equal(changes, []bool{false, true}) {
		t.Errorf("changes: %v", changes)
	}
}

func TestRegistry_ChecksAreRepeated(t *testing.T) {
	r, _, _ := newTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, Check{Every: time.Millisecond, Run: func(_ context.Context, r *Registry) {
			r.Set(ClockOff, "", "by an hour")
			select {
			case looks <- struct{}{}:
			default:
			}
		}})
	}()
	for range 3 {
		<-looks
	}
	cancel()
	<-done
	if len(r.Active()) != 1 {
		t.Error("the check's condition is not active")
	}
}

func TestKnown_EveryConditionIsComplete(t *testing.T) {
	seen := map[Name]bool{}
	for _, d := range Known() {
		if seen[d.Name] || d.Title == "" || d.Remedy == "" || strings.HasSuffix(d.Remedy, ".") || strings.Trim(string(d.Name), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%+v", d)
		}
		seen[d.Name] = true
	}
	r, _, metrics := newTest(t)
	if len(r.known) != len(Known()) {
		t.Error("a name is defined twice")
	}
	for name := range r.known {
		if value(t, metrics, name) != 0 {
			t.Errorf("%s is active at the start", name)
		}
	}
}
