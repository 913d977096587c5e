#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# The fast checks, a minute at most: style, types, licences, lint, unit tests. Needs no Docker.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/steps.sh
. tests/steps.sh
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_CONFIG="$PWD/ansible.cfg"

step "ruff check" ruff check --quiet .
step "ruff format" ruff format --quiet --check .
step "mypy" mypy
step "yamllint" yamllint --strict .
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard -- "*.sh" .ci/run)
step "shellcheck" shellcheck --external-sources "${scripts[@]}"
step "reuse" reuse --no-multiprocessing lint --quiet
step "changelog" antsibull-changelog lint
step "collection awx.awx" python tests/awx_collection.py
unit_tests() { step "unit tests" pytest --quiet tests/unit; }
lint() { step "ansible-lint" ansible-lint -q --offline; }
side_by_side unit_tests lint
