#!/bin/sh
# Tells the team: notify_team.sh "text"
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/record.sh"
record "${1:?what is to be said}"
