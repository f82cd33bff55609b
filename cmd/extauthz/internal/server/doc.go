// Package server assembles the packages: database, cache, keys service,
// authorizer, listeners; starts them in order, reloads what can be reloaded, and
// stops them so that no answered check and no counted use is lost.
//
// It decides nothing about requests and holds no handler of its own but health
// and metrics.
package server
