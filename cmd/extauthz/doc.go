// Command extauthz decides about requests for Envoy by API keys, and manages
// the keys.
//
// This package is the command line: a file for each group of commands. It
// parses, calls and prints; what is done stands in the internal packages.
package main
