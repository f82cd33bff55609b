// Package redis implements the generic tagged store in Redis: a single server, one that
// Sentinels watch, or a Cluster.
//
// Values are plain strings under namespace + key. The keys of a tag are a set under
// namespace + "tag:" + tag. Every command names one key, and several commands are sent as
// a pipeline, so nothing ever spans the slots of a Cluster. There is no script, no
// transaction, and no KEYS.
//
// The client never repeats a call: the caller has a budget and can continue without
// Redis. A call ends with its context, even if the server is frozen or its packets are
// dropped.
package redis
