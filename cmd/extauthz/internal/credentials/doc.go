// Package credentials reads the credentials that the service presents to its stores, each
// time that a connection is made: passwords from files and commands, and whatever else
// changes while the service runs. Nothing that it returns as an error or logs holds a
// secret.
package credentials
