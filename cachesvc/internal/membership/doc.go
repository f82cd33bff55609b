// Package membership keeps forged keys away from the database. It knows the prefixes of
// all keys, and answers "no such key" for other prefixes without a look-up.
//
// A [Filter] (a Bloom filter of prefixes) is loaded from the database and fed by every
// change. A prefix that it does not know is still looked up within a budget, since
// another replica may have made the key a moment ago. Beyond the budget, a check waits
// for a complete feed read that began after the check arrived. All such checks share one
// read ([Inquiry]). After it the filter is exact. If no such read is possible, the check
// is throttled.
//
// Its only answer is "no such key", so it can admit no client. All types are safe for
// concurrent use.
package membership
