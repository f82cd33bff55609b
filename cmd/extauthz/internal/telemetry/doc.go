// Package telemetry sends traces to a collector by OTLP over gRPC, and makes
// spans of look-ups. What the spans of checks tell is the adapter's business.
//
// It never blocks a check: what the collector does not take in time is dropped,
// and told of once a minute.
package telemetry
