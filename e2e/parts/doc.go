// Package parts starts the real parts that tests run against: throw-away
// servers on loopback, each stopped by its starter. It installs nothing:
// scripts/install-parts.sh does.
package parts
