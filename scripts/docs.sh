#!/usr/bin/env bash
# Builds the documentation's site in dist/docs/site: searchable, readable from the file
# system, with nothing loaded from elsewhere. Fails on a link or an anchor that leads
# nowhere, on a diagram that Mermaid does not understand, and on a page that the
# navigation does not name.
#   DOCS_TOOLS=FOLDER   where scripts/install-parts.sh put the tools
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${DOCS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/extauthz/docs/$(cat tools/docs/requirements.txt tools/docs/package.json | sha256sum | cut -c1-12)}
[ -e "$tools/complete" ] || { echo "docs: the tools are missing: run scripts/install-parts.sh docs" >&2; exit 1; }
out=dist/docs

# Pages keep their places, so that their links are right here and in a checkout.
rm -rf "$out"
mkdir -p "$out/pages/assets"
git ls-files -z -- '*.md' 'docs/*' envoy/examples helm/extauthz/README.md helm/extauthz/files helm/extauthz/ci |
  grep -zvE '^(e2e|scripts|cmd|tools)/|\.gotmpl$' | xargs -0 cp --parents -t "$out/pages"
cp tools/docs/mkdocs.yml "$out/"
cp "$tools/node_modules/mermaid/dist/mermaid.min.js" "$out/pages/assets/"
cp "$tools/node_modules/iframe-worker/shim/index.js" "$out/pages/assets/iframe-worker.js"

faults=0
cp tools/docs/diagrams.mjs "$tools/" # Node looks for modules beside the script
PATH=$tools/venv/bin:$PATH node "$tools/diagrams.mjs" $(find "$out/pages" -name '*.md' | sort) || faults=1
NO_MKDOCS_2_WARNING=1 "$tools/venv/bin/mkdocs" build --strict -f "$out/mkdocs.yml" 2>&1 | sed '/^INFO/d' || faults=1 # --quiet would hide warnings
if grep -rlE '<(script|link|img)[^>]*(src|href)="https?://' --include=*.html "$out/site"; then
  echo "docs: these pages load something from elsewhere" >&2
  faults=1
fi
[ $faults = 0 ] || { echo "docs: faults are listed above" >&2; exit 1; }
echo "docs: $out/site/index.html"
