//go:build !full

package e2e

func moreProxies() map[string]proxy { return nil }
