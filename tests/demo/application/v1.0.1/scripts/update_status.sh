#!/bin/sh
# Sets the status page: update_status.sh investigating|identified|monitoring|resolved "text"
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/record.sh"
case ${1:-} in
  investigating | identified | monitoring | resolved) record "$1: ${2:?what is to be said}" ;;
  *) echo "update_status.sh: state ${1:-} is not investigating, identified, monitoring or resolved" >&2; exit 2 ;;
esac
