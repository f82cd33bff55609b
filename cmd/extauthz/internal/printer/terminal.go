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

// terminalWidth is the number of columns of the terminal that w is; 0 where it is none.
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

// ColorWhen is whether output is coloured.
type ColorWhen string

// When output is coloured. Auto colours a terminal, unless NO_COLOR is set or the
// terminal is dumb.
const (
	ColorAuto   ColorWhen = "auto"
	ColorAlways ColorWhen = "always"
	ColorNever  ColorWhen = "never"
)

// Colors are all choices.
var Colors = []ColorWhen{ColorAuto, ColorAlways, ColorNever}

// Colored decides for a stream.
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
