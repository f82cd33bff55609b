// Package doctor looks at a configuration and at what it names (certificates, the
// database, Redis, the running service), and reports what is wrong and what to do. It
// writes nothing that lasts, makes no file, and shows no secret.
package doctor
