#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Everything that CI runs. Starts a Docker daemon if none answers and ends it again; leaves images as a cache, nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/steps.sh
. tests/steps.sh
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_CONFIG="$PWD/ansible.cfg"
# What is compiled is compiled once, and not into the tree; what modules import is imported once, by a server.
export PYTHONPYCACHEPREFIX="$PWD/.cache/compiled/tree" USDX_COMPILED="$PWD/.cache/compiled"
unset PYTHONDONTWRITEBYTECODE # else each Python would compile all that it imports: it looks nowhere else
rm -rf "$USDX_COMPILED" .cache/steps
mkdir -p "$USDX_COMPILED/archives" "$USDX_COMPILED/bytecode"
imported=
began=$SECONDS
passed=no

docker_answered=no
if docker info >/dev/null 2>&1; then docker_answered=yes; fi

leave() {
  local directory
  unfinished_steps
  for directory in .cache/molecule/*/ .cache/molecule/*/*/ .cache/test-demo/; do
    if [ -e "$directory/demo.json" ]; then python tests/demo/demo.py down --directory "$directory" || true; fi
  done
  docker rm --force usdx-bystander >/dev/null 2>&1 || true
  if [ -n "$imported" ]; then kill "$imported" 2>/dev/null || true; fi
  if [ "$docker_answered" = no ]; then tests/demo/docker.sh stop || true; fi
  printf '%s after %d s\n' "$([ "$passed" = yes ] && echo "All passed" || echo "FAILED")" $((SECONDS - began))
}
trap leave EXIT

molecule_scenario() {
  # For each endpoint; the integration tests have those of the runbook.
  NO_COLOR=1 USDX_DEMO_REQUESTS=15 USDX_DEMO_HEALTH_INTERVAL=10s timeout 1800 molecule test --scenario-name "$1"
}

# Five at a time, each in a stack of its own: half of the time each waits for containers.
# Molecule's own workers skip create and destroy.
molecule_scenarios() {
  local name failed=0
  local -a running=()
  mkdir -p .cache/molecule-logs
  for name in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge 5 ]; do wait -n || failed=1; done
    step "molecule $name" molecule_scenario "$name" &
    running+=($!)
  done
  for name in "${running[@]}"; do wait "$name" || failed=1; done
  return "$failed"
}

sanity() { step "ansible-test sanity" tests/sanity.sh; }
importer_and_site() {
  step "import of the archive" tests/importer.sh &&
    step "site of the documents" docs/site/build.sh
}
demo_tests() { step "demo tests" pytest --quiet tests/demo; }
package_and_demo() {
  step "documentation of plugins" antsibull-docs lint-collection-docs --plugin-docs . &&
    step "build the collection" tests/package.sh &&
    side_by_side importer_and_site demo_tests # the demo waits for containers
}

step "docker" tests/demo/docker.sh
tests/check.sh
python tests/quick_python/usdx_imported.py &
imported=$!
disown "$imported" # molecule_scenarios counts jobs
side_by_side sanity package_and_demo
# Those that take minutes begin first: one that began last would leave the other core idle. What is marked as long is a drill.
long=(pg_safe_restore credential_rotation approvals run_lock compose_start rotate_credentials)
mapfile -t long < <(printf 'tests/integration/test_%s.py\n' "${long[@]}")
mapfile -t others < <(printf '%s\n' tests/integration/test_*.py | grep -vxFf <(printf '%s\n' "${long[@]}"))
# A worker that ended too early is not replaced: its test would be run again and again.
step "integration tests" timeout --signal=INT --kill-after=60 2700 \
  pytest --quiet -m "not long" --numprocesses 3 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder "${long[@]}" "${others[@]}"
long=(several_hosts security_incident cleanup infrastructure_issue refused_database undo rehearse guard reverted_migration resume)
mapfile -t others < <(find molecule -mindepth 2 -maxdepth 2 -name molecule.yml -printf '%h\n' | sed 's|.*/||' | sort |
  grep -vxFf <(printf '%s\n' "${long[@]}" rolling))
[ "${#others[@]}" -ge 15 ]
molecule_scenarios "${long[@]}" "${others[@]}"
# By itself: no request may fail, and the proxy gives the application one second to answer.
molecule_scenarios rolling
passed=yes
