// Package l1 keeps a million keys in process, as bytes without a pointer to any of them,
// so that neither memory nor garbage collections suffer from their number.
//
// A [Table] has shards. In each shard an index (index.go) finds a record by its hash in
// an arena of segments (arena.go). Admission (admission.go) decides which record a full
// shard drops. The most used records are also kept decoded (hot.go). A [Codec] writes and
// reads the records (keycodec.go, rolecodec.go, encoding.go). Values that many records
// share, such as sets of scopes, are kept once (interned.go). A value that is read keeps
// its texts in a scratch buffer of its own (scratch.go), so that reading into a value
// that the caller provides allocates nothing.
//
// The package does not judge values: package freshness decides whether one may be used,
// and its stamp is part of each record. Tables are safe for concurrent use and bounded by
// entries and by bytes.
package l1
