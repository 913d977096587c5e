#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# The collection on every Python and every ansible-core that it claims, as far as this machine has the Pythons.
# 'versions.sh units', 'sanity' and 'rollback' do one part of it. 'versions.sh hosts' does little: the unit tests of what runs
# on managed hosts, on the oldest and the newest Python.
# shellcheck disable=SC2329 # functions are called by their names
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/steps.sh
. tests/steps.sh
# A shim of pyenv on PATH would break how Ansible looks for the Python of a host.
PATH="$PWD/.venv/bin:$(.venv/bin/python tests/versions.py path)"
export PATH ANSIBLE_CONFIG="$PWD/ansible.cfg" PYTHONDONTWRITEBYTECODE=1

# These ask for the part of Ansible, or for tools, that a controller has. Reports are written there, with its Jinja.
controller_tests=(--ignore=tests/unit/test_{awx,chart,completeness,execution_environment,here,rulebook,run_report,screen,small_program}.py)

units() {
  local place=$1
  shift
  PATH="$place/bin:$PATH" HYPOTHESIS_STORAGE_DIRECTORY="$place/hypothesis" \
    "$place/bin/python" -m pytest --quiet -p no:cacheprovider "$@" tests/unit
}
host_units() {
  local place
  place=$(python tests/versions.py environment --host "$1" "$2") || return 1
  units "$place" "${controller_tests[@]}"
}
controller_units() {
  local place
  place=$(python tests/versions.py environment "$1" "$2") || return 1
  units "$place" --ignore=tests/unit/test_execution_environment.py
}
sanity() {
  local place
  place=$(python tests/versions.py environment "$1" "$2") && tests/sanity.sh "$place"
}

# Each pair of one kind, two at a time.
each() {
  local kind=$1 title=$2 what=$3 python core pairs failed=0
  local -a running=()
  pairs=$(python tests/versions.py plan "$kind") || return 1
  while read -r python core; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n || failed=1; done
    step "$title $python, core $core" "$what" "$python" "$core" &
    running+=($!)
  done <<<"$pairs"
  for python in "${running[@]}"; do wait "$python" || failed=1; done
  return "$failed"
}

not_there=$(python tests/versions.py missing)
if [ -n "$not_there" ]; then printf 'Not there, so not tried:%30s %s\n' "" "$not_there"; fi
failed=0
wanted=("$@")
if [ $# = 0 ]; then wanted=(units sanity rollback); fi
for kind in "${wanted[@]}"; do
  case $kind in
    hosts) each host_ends "host" host_units || failed=1 ;;
    units)
      each hosts "host" host_units || failed=1
      each units "controller" controller_units || failed=1
      ;;
    sanity) each sanity "sanity" sanity || failed=1 ;;
    rollback) each rollback "rollback" tests/versions_rollback.sh || failed=1 ;;
    *)
      echo "usage: tests/versions.sh [hosts] [units] [sanity] [rollback]" >&2
      exit 2
      ;;
  esac
done
exit "$failed"
