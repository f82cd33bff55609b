// Package firsthour does what a newcomer does: it pastes the ```sh blocks of a document
// into a terminal, in order, on a machine that has nothing but a copy of the source and
// Go, or a release archive and no Go.
//
// The terminal is a real one, so a command that asks a question, or reads what was meant
// for the next command, fails here as it does for a person. It runs in a network and
// among processes of its own: every port is free, nothing is reached outside of the
// machine, and what a document leaves running ends with the test.
package firsthour
