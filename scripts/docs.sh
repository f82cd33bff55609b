#!/usr/bin/env bash
# Builds the documentation's site in dist/docs/site: it is searchable, readable from the
# file system, and loads nothing from elsewhere. Fails on a broken link or anchor, on a
# diagram that Mermaid can't parse, and on a page that is missing in the navigation.
#   DOCS_TOOLS=FOLDER   where scripts/install-parts.sh put the tools
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${DOCS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/docs/$(cat tools/docs/requirements.txt tools/docs/package.json | sha256sum | cut -c1-12)}
[ -e "$tools/complete" ] || { echo "docs: the tools are missing: run scripts/install-parts.sh docs" >&2; exit 1; }
out=dist/docs

# Pages keep their paths, so that their links work both here and in a checkout.
rm -rf "$out"
mkdir -p "$out/pages/assets"
git ls-files -z -- '*.md' 'docs/*' envoy/examples helm/extauthz/README.md helm/extauthz/files helm/extauthz/ci |
  grep -zvE '^(e2e|scripts|cmd|tools)/|\.gotmpl$' | xargs -0 cp --parents -t "$out/pages"
cp tools/docs/mkdocs.yml "$out/"
cp "$tools/node_modules/mermaid/dist/mermaid.min.js" "$out/pages/assets/"
cp "$tools/node_modules/iframe-worker/shim/index.js" "$out/pages/assets/iframe-worker.js"

faults=0
cp tools/docs/diagrams.mjs "$tools/" # Node searches modules beside the script
PATH=$tools/venv/bin:$PATH node "$tools/diagrams.mjs" $(find "$out/pages" -name '*.md' | sort) || faults=1
NO_MKDOCS_2_WARNING=1 "$tools/venv/bin/mkdocs" build --strict -f "$out/mkdocs.yml" 2>&1 | sed '/^INFO/d' || faults=1 # --quiet would hide warnings
if grep -rlE '<(script|link|img)[^>]*(src|href)="https?://' --include=*.html "$out/site"; then
  echo "docs: these pages load something from elsewhere" >&2
  faults=1
fi
[ $faults = 0 ] || { echo "docs: faults are listed above" >&2; exit 1; }
echo "docs: $out/site/index.html"
