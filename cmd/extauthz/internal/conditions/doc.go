// Package conditions keeps what is wrong with a running service. Each condition has a
// name, a text and a remedy. While it is active, /readyz lists it and the metric
// extauthz_condition is 1; its beginning and its end are logged once each.
//
// All conditions are defined in known.go, with a runbook of the same name in
// docs/troubleshooting.md. A source reports a condition in one of two ways. On an event
// it calls [Registry.Set] and [Registry.Clear]. A state that no event announces is polled
// by a [Check], which [Registry.Run] repeats. The package knows none of its sources.
package conditions
