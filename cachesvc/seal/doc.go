// Package seal makes values trustworthy in a store that others can write to. A value that
// was sealed with a key opens only with that key, under the name that it was sealed for,
// and if every public field is unchanged.
//
// It uses AES-256-GCM, with a key derived for each name, so that random nonces never come
// near their limit. Everything public in the value is associated data. [Open] accepts
// only the bytes that [Seal] writes: another spelling of the same JSON, or a field that
// is not known, is refused.
//
// It does not decide whether a value is recent: a sealed value can be replaced by an
// older sealed value of the same name. Package cachesvc judges age and version.
package seal
