package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// table is one table of the report.
type table struct {
	title string
	lines []string
}

func newTable(title string, columns ...string) *table {
	t := &table{title: title}
	t.add(columns...)
	t.lines = append(t.lines, "|"+strings.Repeat("---|", len(columns)))
	return t
}

func (t *table) add(cells ...string) {
	t.lines = append(t.lines, "| "+strings.Join(cells, " | ")+" |")
}

func (t *table) String() string { return "### " + t.title + "\n" + strings.Join(t.lines, "\n") + "\n" }

// say prints the progress.
func (s *environment) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// report prints a table and keeps it for the document.
func (s *environment) report(t *table) {
	fmt.Println(t)
	*s.tables = append(*s.tables, t)
}

// conditions describes the machine on which the figures were taken.
func conditions(o options) string {
	version, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		version = []byte("an unknown commit")
	}
	return fmt.Sprintf("%s, commit %s. %d cores, shared by servers and load; %s; %s, GOMAXPROCS %d. %d rounds of %v a participant.\n",
		time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(version)), runtime.NumCPU(), machine(), runtime.Version(), runtime.GOMAXPROCS(0), o.rounds, o.turn)
}

// write replaces the part of a document between <!-- name --> and <!-- /name --> by the
// report.
func write(document, name, report string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the report: put %s and %s there, each on a line", document, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(document, []byte(before+begin+report+end+after), 0o644)
}
