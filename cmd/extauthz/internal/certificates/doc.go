// Package certificates reads certificates from files, and judges how long they are still
// valid.
package certificates
