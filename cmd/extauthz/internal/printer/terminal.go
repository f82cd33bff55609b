package printer

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Terminal reports whether a stream of a command is a terminal.
func Terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth returns the columns of the terminal w, or 0 if w is no terminal.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// ColorWhen says when output is coloured.
type ColorWhen string

// Auto colours output to a terminal, unless NO_COLOR is set or the terminal is dumb.
const (
	ColorAuto   ColorWhen = "auto"
	ColorAlways ColorWhen = "always"
	ColorNever  ColorWhen = "never"
)

// Colors lists all choices.
var Colors = []ColorWhen{ColorAuto, ColorAlways, ColorNever}

// Colored reports whether output to w is coloured.
func (c ColorWhen) Colored(w io.Writer, getenv func(string) string) (bool, error) {
	switch c {
	case ColorAlways:
		return true, nil
	case ColorNever:
		return false, nil
	case ColorAuto:
		return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && Terminal(w), nil
	}
	return false, fmt.Errorf("color %q: write %s", string(c), Choice(Colors))
}
