// Package parts starts the real programs that tests run against: throw-away servers on
// loopback, each stopped by the test that started it. It installs nothing:
// scripts/install-parts.sh does.
package parts
