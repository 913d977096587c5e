#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Everything that CI runs. Starts a Docker daemon if none answers and ends it again; leaves images as a cache, nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/steps.sh
. tests/steps.sh
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_CONFIG="$PWD/ansible.cfg" PYTHONDONTWRITEBYTECODE=1
began=$SECONDS

docker_answered=no
if docker info >/dev/null 2>&1; then docker_answered=yes; fi

leave() {
  local status=$?
  local directory
  for directory in .cache/molecule/*/ .cache/molecule/*/*/ .cache/test-demo/; do
    if [ -e "$directory/demo.json" ]; then python tests/demo/demo.py down --directory "$directory" || true; fi
  done
  docker rm --force usdx-bystander >/dev/null 2>&1 || true
  if [ "$docker_answered" = no ]; then tests/demo/docker.sh stop || true; fi
  printf '%s after %d s\n' "$([ "$status" = 0 ] && echo "All passed" || echo "FAILED")" $((SECONDS - began))
}
trap leave EXIT

molecule_scenario() {
  NO_COLOR=1 molecule test --scenario-name "$1"
}

# Three at a time, each in a stack of its own: half of the time each waits for containers.
# Molecule's own workers skip create and destroy.
molecule_scenarios() {
  local name failed=0
  local -a running=()
  mkdir -p .cache/molecule-logs
  for name in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge 3 ]; do wait -n || failed=1; done
    step "molecule $name" molecule_scenario "$name" &
    running+=($!)
  done
  for name in "${running[@]}"; do wait "$name" || failed=1; done
  return "$failed"
}

sanity() { step "ansible-test sanity" tests/sanity.sh; }
importer() { step "import of the archive" tests/importer.sh; }
demo_tests() { step "demo tests" pytest --quiet tests/demo; }
package_and_demo() {
  step "documentation of plugins" antsibull-docs lint-collection-docs --plugin-docs . &&
    step "build the collection" tests/package.sh &&
    side_by_side importer demo_tests # the demo waits for containers
}

step "docker" tests/demo/docker.sh
tests/check.sh
side_by_side sanity package_and_demo
# Those that take minutes begin first: one that began last would leave the other core idle.
long=(silenced_run least_privilege database_decisions credential_rotation rotate_credentials evidence_capture tell_people)
mapfile -t long < <(printf 'tests/integration/test_%s.py\n' "${long[@]}")
mapfile -t others < <(printf '%s\n' tests/integration/test_*.py | grep -vxFf <(printf '%s\n' "${long[@]}"))
step "integration tests" pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder "${long[@]}" "${others[@]}"
long=(several_hosts security_incident cleanup infrastructure_issue refused_database undo rehearse guard reverted_migration resume)
mapfile -t others < <(find molecule -mindepth 2 -maxdepth 2 -name molecule.yml -printf '%h\n' | sed 's|.*/||' | sort |
  grep -vxFf <(printf '%s\n' "${long[@]}"))
[ "${#others[@]}" -ge 15 ]
molecule_scenarios "${long[@]}" "${others[@]}"
