// Package server assembles the other packages: database, cache, keys service, authorizer,
// listeners. It starts them in order, reloads what can be reloaded, and stops them so
// that no accepted check and no counted use is lost.
//
// It decides nothing about requests, and has no handlers of its own except health and
// metrics.
package server
