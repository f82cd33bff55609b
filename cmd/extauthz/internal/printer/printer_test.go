package printer

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

type fruit struct{ name, taste string }

var fruits = []Column[fruit]{
	{Name: "name", Text: func(f *fruit) string { return f.name }},
	{Name: "how-it-tastes", MinWidth: 10, Text: func(f *fruit) string { return f.taste },
		Color: func(*fruit) Color { return Good }},
	{Name: "length", Wide: true, Text: func(f *fruit) string { return strings.Repeat("x", len(f.name)) },
		Compare: func(a, b *fruit) int { return len(a.name) - len(b.name) }},
}

func TestWriteTable_CutsOnATerminalAlone(t *testing.T) {
	rows := []fruit{{"pomegranate", "sweet, and a little sour"}, {"", "wörtlich: süß\nand more of it"}}
	var file bytes.Buffer
	if err := WriteTable(&file, fruits, rows, false, false); err != nil {
		t.Fatal(err)
	}
	want := "NAME         HOW IT TASTES\npomegranate  sweet, and a little sour\n-            wörtlich: süß�and more of it\n"
	if file.String() != want {
		t.Errorf("to a file:\n%s", file.String())
	}
	for _, c := range []struct {
		columns uint16
		longest int
	}{{30, 30}, {24, 26}, {80, 42}} { // headings are not cut, so 26 is the least width
		got := parts.OnTerminal(t, c.columns, func(tty *os.File) {
			if err := WriteTable(tty, fruits, rows, false, false); err != nil {
				t.Error(err)
			}
		})
		longest := 0
		for line := range strings.Lines(got) {
			longest = max(longest, columnsOf(strings.TrimRight(line, "\n")))
		}
		if longest > c.longest || strings.Count(got, "\n") != 3 || strings.Contains(got, "…") != (c.columns < 80) {
			t.Errorf("on %d columns, %d are taken:\n%s", c.columns, longest, got)
		}
	}
	wide := parts.OnTerminal(t, 20, func(tty *os.File) { _ = WriteTable(tty, fruits, rows, true, false) })
	if !strings.Contains(wide, "a little sour") || !strings.Contains(wide, "xxxxxxxxxxx") {
		t.Errorf("the wide form is cut:\n%s", wide)
	}
}

func TestWriteTable_ColorsDoNotMoveColumns(t *testing.T) {
	rows := []fruit{{"fig", "good"}, {"pomegranate", "good"}}
	var plain, colored bytes.Buffer
	if err := WriteTable(&plain, fruits, rows, true, false); err != nil {
		t.Fatal(err)
	}
	if err := WriteTable(&colored, fruits, rows, true, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(colored.String(), "\x1b[32mgood\x1b[0m") {
		t.Errorf("there is no colour: %q", colored.String())
	}
	stripped := regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(colored.String(), "")
	if stripped != plain.String() {
		t.Errorf("%q\nis not\n%q", stripped, plain.String())
	}
}

func TestColorWhen_HonoursTerminalAndNoColor(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	parts.OnTerminal(t, 80, func(tty *os.File) {
		for _, c := range []struct {
			when ColorWhen
			env  func(string) string
			want bool
		}{{ColorAuto, env(), true}, {ColorAuto, env("NO_COLOR", "1"), false}, {ColorAuto, env("TERM", "dumb"), false},
			{ColorNever, env(), false}, {ColorAlways, env("NO_COLOR", "1"), true}} {
			if got, err := c.when.Colored(tty, c.env); err != nil || got != c.want {
				t.Errorf("%s: %v, %v", c.when, got, err)
			}
		}
	})
	if got, err := ColorAuto.Colored(&bytes.Buffer{}, env()); err != nil || got {
		t.Errorf("a file is coloured: %v", err)
	}
	if _, err := ColorWhen("blue").Colored(os.Stdout, env()); err == nil {
		t.Error("--color blue is taken")
	}
}

func TestSorter_OrdersByAColumn(t *testing.T) {
	a, b := fruit{"fig", "sweet"}, fruit{"pomegranate", "sour"}
	for by, want := range map[string]int{"name": -1, "-name": 1, "how-it-tastes": 1, "length": -8, "-length": 8} {
		compare, err := Sorter(fruits, by)
		if err != nil || compare(&a, &b) != want {
			t.Errorf("%s: %v", by, err)
		}
	}
	if _, err := Sorter(fruits, "weight"); err == nil || !strings.Contains(err.Error(), "name, how-it-tastes or length") {
		t.Errorf("an unknown column: %v", err)
	}
}

func TestWriteYAML_HasJSONsFieldsInOrder(t *testing.T) {
	data := map[string]any{"b": 1, "list": []any{"true", "12", 1.5, nil, false, uint64(18446744073709551615)}, "none": []string{}, "text": "two\nlines\x7f: #"}
	var b bytes.Buffer
	if err := WriteYAML(&b, data); err != nil {
		t.Fatal(err)
	}
	want := "b: 1\nlist:\n  - \"true\"\n  - \"12\"\n  - 1.5\n  - null\n  - false\n  - 18446744073709551615\nnone: []\ntext: \"two\\nlines\\x7F: #\"\n"
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestDistance_Rounds(t *testing.T) {
	day := 24 * time.Hour
	for d, want := range map[time.Duration]string{0: "in 0s", 30*day - time.Second: "in 30d", 24*time.Hour - time.Millisecond: "in 24h", -90 * time.Second: "2m ago",
		-59*time.Second - 600*time.Millisecond: "1m ago", 47 * time.Hour: "in 47h", 48 * time.Hour: "in 2d", -400 * day: "400d ago"} {
		if got := Distance(d); got != want {
			t.Errorf("%v: %s, not %s", d, got, want)
		}
	}
}

func TestCut_CountsColumnsAndNotBytes(t *testing.T) {
	for text, want := range map[string]string{"short": "short", "exactly8": "exactly8", "more than8": "more th…", "日本語日本語": "日本語…", "süßsüßsüß": "süßsüßs…", "e\u0301e\u0301": "e\u0301e\u0301"} {
		if got := cut(text, 8); got != want || columnsOf(got) > 8 {
			t.Errorf("%q is cut to %q, not %q", text, got, want)
		}
	}
}

// at begins a progress at a time, and returns a function that lets time pass.
func at(p *Progress, begun time.Time) func(time.Duration) {
	p.begun = begun
	now := begun
	p.now = func() time.Time { return now }
	return func(d time.Duration) { now = now.Add(d) }
}

func TestProgress_PrintsALineNowAndThen(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, "rows")
	pass := at(p, time.Now())
	p.Set("keys", 10, 100)
	pass(lineEvery)
	p.Set("keys", 20, 100)
	p.Set("keys", 30, 100)
	pass(lineEvery)
	p.Set("audit", 7, 0)
	p.End()
	if want := "keys: 20 of 100 rows\naudit: 7 rows\n"; b.String() != want {
		t.Errorf("got %q", b.String())
	}
}

func TestProgress_DrawsABarOnATerminal(t *testing.T) {
	got := parts.OnTerminal(t, 40, func(tty *os.File) {
		p := NewProgress(tty, "rows")
		pass := at(p, time.Now())
		p.Set("short", 10, 100) // ends before a bar is drawn
		pass(barAfter)
		p.Set("keys", 50, 100)
		p.Set("keys", 51, 100) // too soon after the last one
		pass(barEvery)
		p.Set("keys in a long table", 100, 100)
		p.End()
		p.End()
	})
	clear := "\r\x1b[K"
	if want := clear + "[##########          ] keys: 50 of 100…" + clear + "[####################] keys in a long …" + clear; got != want {
		t.Errorf("got %q", got)
	}
}

func TestProgress_WaitsInOneLine(t *testing.T) {
	got := parts.OnTerminal(t, 80, func(tty *os.File) {
		p := NewProgress(tty, "")
		drawn := make(chan struct{})
		calls := 0
		begun := time.Now()
		p.begun = begun
		p.now = func() time.Time {
			if calls++; calls == 6 { // two lines are written: each takes one call for the text and one for the pace
				close(drawn)
			}
			return begun.Add(time.Duration(calls) * time.Second)
		}
		p.Wait("reading keys")
		<-drawn
		p.End()
	})
	if !strings.HasPrefix(got, "\r\x1b[Kreading keys: 1s so far\r\x1b[Kreading keys: 3s so far") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("got %q", got)
	}
}
