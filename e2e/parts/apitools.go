package parts

import (
	"path/filepath"
	"testing"
)

// APITools returns the folder that `scripts/install-parts.sh api` made: venv
// (Schemathesis and Node.js), node_modules (Redocly, Spectral) and oapi-codegen.
func APITools(tb testing.TB) string {
	tb.Helper()
	return filepath.Dir(installedPart(tb, "api", "complete", "tools/api/go.mod", "tools/api/requirements.txt", "tools/api/package.json"))
}
