// Package credentials reads the credentials that the service presents to its stores:
// passwords from files and commands, and other values that change while the service runs.
// They are read for each new connection. The package puts no secret into an error or a
// log line.
package credentials
