// Command extauthz authorizes requests for Envoy by API keys, and manages the keys.
//
// This package is the command line: a file for each group of commands. It
// parses, calls and prints; the work is done in the internal packages.
package main
