#!/bin/sh
# Smoke test of what this checkout has deployed here: test_deployment.sh production
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/record.sh"
if python3 "$(dirname "$0")/smoke_test.py"; then
  record "${1:-production}: passed"
else
  record "${1:-production}: failed"
  exit 1
fi
