//go:build !full

package server

// everyText: one of so many texts is tried.
const everyText = 11
