#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# The demo: a stack on which v1.0.3 went wrong, the one command that rolls it back, and what users see before and after.
set -euo pipefail
cd "$(dirname "$0")/../.."
demo=.cache/demo

echo "== The stack: v1.0.2 was fine, then v1.0.3 was deployed"
.venv/bin/python tests/demo/demo.py up --project usdx-wexel-demo --directory "$demo"
echo
echo "== Before: what users see"
.venv/bin/python tests/demo/demo.py show --directory "$demo"
echo
echo "== The rollback: ansible-playbook rollback.yml -e version=v1.0.2 -e accept_data_loss=1h"
PATH="$PWD/.venv/bin:$PATH" ansible-playbook rollback.yml -e version=v1.0.2 -e accept_data_loss=1h -e reason='"the API answers 500"'
echo
echo "== After: what users see"
.venv/bin/python tests/demo/demo.py show --directory "$demo"
echo
echo "The stack stays up. Look at it in a browser, run the rollback again (it finds nothing to do), or see the plan alone:"
echo "  . .venv/bin/activate && ansible-playbook rollback.yml -e version=v1.0.1 --check --diff"
echo "'make demo-down' removes all of it."
