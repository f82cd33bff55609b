package parts

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// OnTerminal returns what is written to a terminal with so many columns.
func OnTerminal(tb testing.TB, columns uint16, write func(tty *os.File)) string {
	tb.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		tb.Fatalf("no terminal can be opened: %v", err)
	}
	defer func() { _ = master.Close() }()
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		tb.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(master) // ends with EIO when the other end is closed
		read <- b.String()
	}()
	write(tty)
	if err := tty.Close(); err != nil {
		tb.Fatal(err)
	}
	return strings.ReplaceAll(<-read, "\r\n", "\n")
}
