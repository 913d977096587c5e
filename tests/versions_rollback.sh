#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Rolls a demo back and forth with one ansible-core: versions_rollback.sh PYTHON CORE. Modules run with the oldest Python of
# this machine under the oldest core, else with the newest. Called by versions.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
controller=$(python tests/versions.py environment "$1" "$2")
pair=$(python tests/versions.py plan host_ends | { grep " $2\$" || true; })
read -r host_python host_core <<<"${pair:-$1 $2}"
host=$(python tests/versions.py environment --host "$host_python" "$host_core")
demo=$PWD/.cache/versions/demo-$2
export PATH="$controller/bin:$PATH" USDX_DEMO_DIRECTORY=$demo NO_COLOR=1

demo() {
  local what=$1
  shift
  .venv/bin/python tests/demo/demo.py "$what" --directory "$demo" "$@"
}
trap 'demo down >/dev/null' EXIT
says() { grep -qE "$1" "$demo/screen" || { echo "The screen should say: $1" && return 1; }; }
play() {
  ansible-playbook "$@" -e "ansible_python_interpreter=$host/bin/python" 2>&1 | tee "$demo/screen"
  # What is only deprecated here fails in a later core.
  if grep -q 'DEPRECATION WARNING' "$demo/screen"; then return 1; fi
}
serves() { demo show --json | tee /dev/stderr | grep "\"version\": \"$1\"" >/dev/null; }

ansible-playbook --version
"$host/bin/python" --version
demo up --project "usdx-versions-${2//./-}"
options=(-e version=v1.0.2 -e accept_data_loss=1h -e reason=gate)
play rollback.yml "${options[@]}" --check --diff
says 'From v1\.0\.3 .* to v1\.0\.2 '
serves v1.0.3
play rollback.yml "${options[@]}"
says 'Run .*: v1\.0\.3 .* -> v1\.0\.2 '
serves v1.0.2
play rollback.yml "${options[@]}"
says '^demo .* changed=0 '
play undo.yml -e accept_data_loss=1h
serves v1.0.3
