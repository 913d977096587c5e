#!/bin/sh
# Tells users: send_notification.sh all "text"
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/record.sh"
record "to ${1:?who is to be told}: ${2:?what is to be said}"
