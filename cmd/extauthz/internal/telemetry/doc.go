// Package telemetry sends traces to a collector by OTLP over gRPC, and makes spans for
// look-ups. The adapter decides what the spans of checks contain.
//
// It never blocks a check. Spans that the collector does not accept in time are dropped;
// this is logged at most once a minute.
package telemetry
