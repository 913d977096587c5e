# shellcheck shell=sh
# Sourced by the scripts beside it: adds one line to the messages, beside the checkout and never in the tree.
record() {
  messages=${USDX_MESSAGES:-$(cd "$(dirname "$0")/../.." && pwd)/messages.log}
  printf '%s %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(basename "$0" .sh)" "$*" >>"$messages"
}
