// Command bench measures the service against baselines that decide nothing, in
// turns on the same machine, and prints the figures of docs/benchmarks.md:
//
//	bench headline        what the goals are about
//	bench all             each dimension by itself
//	bench checks -keys 1000,1000000 -kind allow,unknown -rate 0,5000   any combination
//	bench memory | disturbed | cold | create | gateway | own           one part
//	bench compare BINARY  this tree's build beside another binary
//	bench pgo FILE        records a CPU profile of the service under load
//
// It starts all it needs by package parts and ends it. Settings of the service
// that it does not set itself pass through the environment
// (EXTAUTHZ_GRPC__CODEC=protobuf bench headline).
//
// What a server costs is the CPU time of its process alone, so that load and
// server may share a machine, and comparisons are ratios of turns that ran one
// after the other, so that a machine which is now faster and now slower does not
// change them. Absolute figures hold for the machine that they are printed with.
package main
