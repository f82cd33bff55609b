// Package telemetry sends traces to a collector by OTLP over gRPC, and makes
// spans of look-ups. The adapter decides what the spans of checks hold.
//
// It never blocks a check: spans that the collector does not accept in time are dropped,
// and logged once a minute.
package telemetry
