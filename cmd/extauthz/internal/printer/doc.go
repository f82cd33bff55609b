// Package printer writes what commands list and show, in the form that the user
// asked for: a table that fits the terminal, a wide one with everything, JSON, YAML,
// or names alone. It knows terminals: their width, their colours and progress bars.
//
// Output to a file or a pipe is never cut, coloured or overwritten: it is read by
// programs.
package printer
