# Sourced by what makes images of this machine's programs; $root is the image's root.

# take PATH…: programs and libraries with all that they are linked to.
take() {
  local file
  for file in "$@"; do
    cp --parents -L "$file" "$root"
    { ldd "$file" 2>/dev/null || true; } | grep -o '/[^ ]*' | sort -u | while read -r library; do
      [ -e "$root$library" ] || cp --parents -L "$library" "$root"
    done
  done
}
