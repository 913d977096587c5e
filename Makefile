# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Two commands matter: 'make demo' shows a rollback on this machine, 'make test' runs everything that CI runs.
SHELL := /bin/bash
VENV := .venv/bin
DEMO := .cache/demo
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.DEFAULT_GOAL := help
.PHONY: help setup docker demo demo-down check test versions docs drill execution-environment bench bench-restore bench-cutover bench-worst-hours bench-hosts clean

help: ## show the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 22

setup: ## install the Python packages in .venv and make the collection findable
	@tests/setup.sh

docker: ## make sure that a Docker daemon with Compose v2 answers
	@tests/demo/docker.sh

demo: setup docker ## build the demo stack, break it by v1.0.3, roll it back to v1.0.2
	@tests/demo/demo.sh

demo-down: ## remove all that the demo made
	@tests/demo/demo_down.sh

check: setup ## the fast checks: style, types, unit tests
	@tests/check.sh

test: setup ## everything that CI runs
	@tests/test.sh

versions: setup docker ## the collection on every Python and ansible-core that it claims and that is there
	@tests/versions.sh

docs: setup ## build the site of the documents and of the reference in .cache/docs/html
	@docs/site/build.sh

drill: setup docker ## the drills that take an hour: SSH cut, daemon restarted, server killed, controller killed in each step and 40 times
	@$(VENV)/pytest --quiet --timeout 0 tests/drills
	@$(VENV)/pytest --quiet --timeout 0 -m long tests/integration
	@$(VENV)/python tests/drills/killed_controller.py --scenario application_bug --each-step
	@$(VENV)/python tests/drills/killed_controller.py --scenario database_migration --each-step
	@$(VENV)/python tests/drills/killed_controller.py --scenario database_migration --kills 40

execution-environment: setup docker ## build the execution environment, and roll the demo back from inside it
	@$(VENV)/pytest --quiet --timeout 0 -s tests/drills/test_execution_environment.py

bench: setup docker ## measure a rollback against the runbook's own commands and other collections: table, JSON and chart in .cache/bench/results
	@$(VENV)/python tests/benchmarks/all_in_one.py

bench-restore: setup docker ## measure a restore against psql and pg_restore, and what clients see of it
	@$(VENV)/python tests/benchmarks/restore.py

bench-cutover: setup docker ## measure what clients see of a cutover to a backup that was loaded before
	@$(VENV)/python tests/benchmarks/cutover.py

bench-hosts: setup docker ## measure what a rollback of several hosts takes, compared with that of one
	@$(VENV)/python tests/benchmarks/several_hosts.py

bench-worst-hours: setup docker ## measure how soon everything is contained, and what dead receivers cost a rollback
	@$(VENV)/python tests/benchmarks/worst_hours.py

clean: ## remove what checks and builds left here
	rm -rf .cache dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
