#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# What Galaxy says of the archive in dist when it is imported: no error and no warning. It brings its own, older packages.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=(galaxy-importer==0.4.44)
mapfile -t -O 1 wanted < <(grep -E '^ansible-(core|lint)==' tests/requirements.txt)
place=$PWD/.cache/galaxy-importer
if [ "$(cat "$place/installed" 2>/dev/null)" != "${wanted[*]}" ]; then
  .venv/bin/python -m venv --clear "$place"
  "$place/bin/python" -m pip install --quiet --disable-pip-version-check "${wanted[@]}"
  printf '%s\n' "${wanted[*]}" >"$place/installed"
fi
archive=$(ls "$PWD"/dist/usdx-rollback-*.tar.gz)
mkdir -p "$place/home"
cd "$place/home" # it writes its result where it is called
# Of the environment only what says nothing of this checkout.
env -i HOME="$PWD" LANG=C.UTF-8 PATH="$place/bin:/usr/local/bin:/usr/bin:/bin" GALAXY_IMPORTER_CHECK_REQUIRED_TAGS=true \
  python -m galaxy_importer.main "$archive" 2>&1 | tee log
for line in '^\.\.\.ansible-lint run complete$' '^Importer processing completed successfully$'; do
  grep -q "$line" log || { echo "The importer did not say: $line" && exit 1; }
done
if grep -E '^(WARNING|ERROR|CRITICAL)' log; then exit 1; fi
