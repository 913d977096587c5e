# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# A named step of a test script: one line with its seconds when it passes, all of its output when it fails.

step() {
  local name=$1 began=$SECONDS log status=0
  shift
  mkdir -p .cache/steps
  log=$(mktemp "$PWD/.cache/steps/${name//[ \/]/_}.XXXXXX")
  "$@" >"$log" 2>&1 || status=$?
  if [ "$status" != 0 ]; then
    cat "$log"
    printf '%-34s FAILED after %d s: %s\n' "$name" $((SECONDS - began)) "$*"
    rm -f "$log"
    return "$status"
  fi
  # What a test runner counted stays visible, so that a run that tested nothing cannot look like one that passed.
  printf '%-34s %4d s  %s\n' "$name" $((SECONDS - began)) "$(grep -hE '^[=]* ?[0-9]+ passed' "$log" | tail -1 | tr -d '=' || true)"
  rm -f "$log"
}

# What a script that was ended from outside has to say of the steps that had not ended.
unfinished_steps() {
  local log
  for log in .cache/steps/*; do
    if [ -e "$log" ]; then
      log=${log##*/}
      printf '%s had not ended; the end of its output:\n' "${log%.*}"
      tail -n 40 ".cache/steps/$log"
    fi
  done
}

# Two functions at once, each of which keeps one core busy. Neither may count on 'set -e': join its steps with &&.
side_by_side() {
  local failed=0 other
  "$1" &
  other=$!
  "$2" || failed=1
  wait "$other" || failed=1
  return "$failed"
}
