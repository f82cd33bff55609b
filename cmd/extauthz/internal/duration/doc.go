// Package duration reads durations as people write them: Go's, as well as days and weeks,
// such as 30d, 2w or 1d12h. The command line, the management API and the configuration
// read all their durations here, so that a text is right in all of them or in none.
package duration
