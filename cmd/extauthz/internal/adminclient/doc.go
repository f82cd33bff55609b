// Package adminclient calls the management API for the command line. It knows the
// API's types and turns every refusal into one line with what happened and what to
// do. It keeps no state and retries nothing.
package adminclient
