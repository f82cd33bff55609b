// Package config is the service's configuration: one tree of structs, [Config], with its
// defaults, loading, validation and JSON schema.
//
// [Load] merges four layers: defaults, the YAML file, environment variables, command-line
// flags. For each setting the last layer that sets it wins; lists are replaced as a
// whole. Every layer is checked before it is merged, so that one error can report every
// fault in all of them. Each fault is one line, with the place that it came from and what
// to write instead. Load also reads secrets that have files of their own. A configuration
// that Load returned is valid, and does not change afterwards.
//
// The package returns domain values if they follow from the settings alone
// ([Config.RouteTable], [Config.KeyFormat], ...). It opens no listener, no database and
// no log, and watches no file. For a reload, the caller calls [Load] again, and then
// [Diff] to learn what changed.
package config
