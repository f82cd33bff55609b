// Package parts starts the real parts that tests run against: throw-away
// servers on loopback, each stopped by whoever started it. It installs nothing:
// scripts/install-parts.sh does.
package parts
