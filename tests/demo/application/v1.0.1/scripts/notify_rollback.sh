#!/bin/sh
# Tells the team that a rollback begins: notify_rollback.sh "text"
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/record.sh"
record "${1:?what is to be said}"
