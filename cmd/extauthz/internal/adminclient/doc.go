// Package adminclient calls the management API for the command line. It knows the API's
// types, and turns every refusal into one line about what happened and what to do. It
// stores nothing and does not retry.
package adminclient
