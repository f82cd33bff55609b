// Package duration parses durations as people write them: Go's, and also days and weeks,
// such as 30d, 2w or 1d12h. The command line, the management API and the configuration
// all use it, so that a text is valid in all of them or in none.
package duration
