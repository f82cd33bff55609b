// Package doctor checks a configuration and everything that it names (certificates, the
// database, Redis, the running service), and reports problems and remedies. It leaves
// nothing behind in the stores, creates no file, and shows no secret.
package doctor
