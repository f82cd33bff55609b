// Package redis keeps the generic tagged store in Redis: a single one, one
// watched by Sentinels, or a Cluster.
//
// Values are plain strings under namespace + key, the keys of a tag as a
// set under namespace + "tag:" + tag. Every command is about one key, and
// several go as a pipeline, so nothing ever spans the slots of a Cluster; there
// is no script, no transaction, and no KEYS.
//
// The client never tries a call again: the caller has a budget and can continue without
// Redis. A call ends with its context, also when the server is frozen or its packets are
// dropped.
package redis
