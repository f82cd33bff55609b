// Package budget limits a rate and allows a burst, without a lock, so that look-ups that
// spend from one budget do not wait for one another. The caller passes the time.
package budget
