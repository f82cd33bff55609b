// Package printer writes what commands list and show, in the form that the user chose: a
// table that fits the terminal, a wide one with everything, JSON, YAML, or names alone.
// It handles the width and the colours of terminals, and progress bars.
//
// Output to a file or a pipe is never cut, coloured or overwritten, because programs read
// it.
package printer
