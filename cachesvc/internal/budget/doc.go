// Package budget limits a rate with a burst, without a lock, so that look-ups that
// spend from one budget do not wait for one another. Time is the caller's.
package budget
