// Command extauthz authorizes requests for Envoy by API keys, and manages the keys.
//
// This package is the command line, with one file for each group of commands. It parses,
// calls and prints; the internal packages do the work.
package main
