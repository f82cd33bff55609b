// Package authz is the domain: what an API key is, how it is verified, what a request
// needs, and whether the key allows it.
//
// [Authorizer.Check] takes a request through the package: canonical path and host, route
// rule, credential, key format and checksum, [Validator], digest, status, network,
// scopes, [Decision].
//
// The contract: a denial is a [Decision], never an error. An error means that no decision
// could be made, for example because no store answered. The zero Decision denies. Nothing
// here does I/O, starts a goroutine or logs; clock and random source are injected. The
// package imports the standard library alone and knows neither Envoy, nor a database, nor
// a cache.
package authz
