#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs the Python packages of tests/requirements.txt in .venv and makes this checkout findable as usdx.rollback.
set -euo pipefail
cd "$(dirname "$0")/.."

# That of the system first: distributions build theirs with profiles, pyenv does not; all here takes a quarter less time.
find_python() {
  local candidate
  for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

if ! python=$(find_python); then
  if ! can_install; then
    echo "Missing: Python 3.11 to 3.13 with venv. Install it (Debian, Ubuntu: apt-get install python3 python3-venv) and run again." >&2
    exit 1
  fi
  echo "Installing the Debian packages python3 and python3-venv"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates >/dev/null
  python=$(find_python)
fi

mkdir -p .ansible/collections/ansible_collections/usdx
ln -sfn ../../../.. .ansible/collections/ansible_collections/usdx/rollback

wanted=$(cat requirements.txt tests/requirements.txt <(echo "$python") | sha256sum)
if [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
  echo "Installing Python packages in .venv (once, about half a minute)"
  "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt 2>&1 | { grep -v '^WARNING: Location' || true; }
  .venv/bin/ansible --version >/dev/null
  echo "$wanted" >.venv/installed
fi
# Only tests/test.sh sets the variable.
printf '%s/tests/quick_python\nimport os; os.environ.get("USDX_COMPILED") and __import__("usdx_quick")\n' "$PWD" \
  >"$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/usdx_quick.pth"
