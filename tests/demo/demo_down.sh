#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Removes all that 'make demo' made: stack, images, folder, and the Docker daemon if the demo started it.
# Packages that were installed stay.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -e .venv/bin/python ] && docker info >/dev/null 2>&1; then
  .venv/bin/python tests/demo/demo.py down --directory .cache/demo --all
else
  echo "No Docker daemon answers or nothing was set up: nothing to remove."
fi
tests/demo/docker.sh stop
