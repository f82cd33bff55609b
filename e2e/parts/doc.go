// Package parts starts the real programs that tests run against: throw-away servers on
// loopback, each stopped when the test that started it ends. It installs nothing:
// scripts/install-parts.sh does.
package parts
