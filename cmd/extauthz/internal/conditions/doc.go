// Package conditions keeps what is wrong with a running service: each condition
// has a name, a text and a remedy. A condition is listed in /readyz, is 1 in the
// metric extauthz_condition, and is logged once when it begins and once when it
// ends.
//
// All conditions are defined in known.go, with a runbook of the same name in
// docs/troubleshooting.md. Sources report in one of two ways: an event calls
// [Registry.Set] and [Registry.Clear]; a state that nothing announces is polled by a
// [Check] that [Registry.Run] repeats. The package knows no source.
package conditions
