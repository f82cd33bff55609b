//go:build full

package server

// everyText: every text is tried.
const everyText = 1
