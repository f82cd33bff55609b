//go:build !full

package server

// everyText is which of the texts are tried: one of so many, in each setting.
const everyText = 11
