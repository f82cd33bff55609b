//go:build full

package server

// everyText is which of the texts are tried: all.
const everyText = 1
