#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds the site of the documents and of the reference of modules, plugins and roles in .cache/docs/html. Every warning is an error.
set -euo pipefail
cd "$(dirname "$0")/../.."
place=.cache/docs
venv=$place/venv
mermaid=$place/mermaid-12.3.0
export PATH="$PWD/$venv/bin:$PATH" ANSIBLE_COLLECTIONS_PATH="$PWD/.ansible/collections"

if ! command -v npm >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing: npm, which fetches Mermaid, the library that draws the diagrams. Nothing was built." >&2
    echo "Install it (Debian, Ubuntu: apt-get install npm) and run again." >&2
    exit 1
  fi
  echo "Installing the Debian package npm"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >/dev/null
fi

wanted=$(sha256sum <docs/site/requirements.txt)
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
  echo "Installing Python packages in $venv (once, about half a minute)"
  mkdir -p "$place"
  .venv/bin/python -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r docs/site/requirements.txt 2>&1 | { grep -v '^WARNING: Location' || true; }
  echo "$wanted" >"$venv/installed"
fi

if [ ! -e "$mermaid/mermaid.min.js" ]; then
  echo "Fetching $(basename "$mermaid") from the npm registry (once)"
  rm -rf "$mermaid"
  mkdir -p "$mermaid"
  npm pack --silent --pack-destination "$mermaid" "mermaid@${mermaid##*-}" >/dev/null
  tar -xzf "$mermaid"/*.tgz -C "$mermaid" --strip-components=2 package/dist/mermaid.min.js
fi
node docs/site/check_diagrams.mjs "$mermaid/mermaid.min.js" README.md docs/*.md

rm -rf "$place/source" "$place/html"
mkdir -p "$place/source/docs"
cp -r docs/site/conf.py docs/site/index.md docs/site/static README.md CHANGELOG.md CONTRIBUTING.md LICENSE "$place/source/"
cp "$mermaid/mermaid.min.js" "$place/source/static/"
cp -r docs/*.md docs/*.svg docs/ci docs/execution_environment docs/holding "$place/source/docs/"
"$venv/bin/antsibull-docs" collection --use-current --fail-on-error --dest-dir "$place/source" usdx.rollback
"$venv/bin/sphinx-build" -b html -j auto -q -W --keep-going "$place/source" "$place/html"
echo "Open $place/html/index.html"
