#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds the site of the documents and of the reference of modules, plugins and roles in .cache/docs/html. Every warning is an error.
set -euo pipefail
cd "$(dirname "$0")/../.."
place=.cache/docs
venv=$place/venv
export PATH="$PWD/$venv/bin:$PATH" ANSIBLE_COLLECTIONS_PATH="$PWD/.ansible/collections"

wanted=$(sha256sum <docs/site/requirements.txt)
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
  echo "Installing Python packages in $venv (once, about half a minute)"
  mkdir -p "$place"
  .venv/bin/python -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r docs/site/requirements.txt 2>&1 | { grep -v '^WARNING: Location' || true; }
  echo "$wanted" >"$venv/installed"
fi

rm -rf "$place/source" "$place/html"
mkdir -p "$place/source/docs"
cp docs/site/conf.py docs/site/index.md README.md CHANGELOG.md "$place/source/"
cp docs/*.md docs/*.svg "$place/source/docs/"
"$venv/bin/antsibull-docs" collection --use-current --fail-on-error --dest-dir "$place/source" usdx.rollback
"$venv/bin/sphinx-build" -b html -j auto -q -W --keep-going "$place/source" "$place/html"
echo "Open $place/html/index.html"
