#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs a command as the user prod, who may use Docker and has no other right: unprivileged.sh HOME COMMAND...
# This repository and its Python may lie in folders that only root enters. Mounts that nobody else sees open them, and add
# the user to /etc/passwd. No privilege can be gained back, so sudo would not help.
set -euo pipefail
# What is mounted below must never be mounted for others, so this script sees to it itself.
if [ "${1:-}" != --in-mounts-of-its-own ]; then exec unshare --mount --propagation private "$0" --in-mounts-of-its-own "$@"; fi
shift
cd "$(dirname "$0")/.."
home=$1 user=10001
shift
places=("$PWD" "$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')")

# The topmost folder above a path that others may not enter.
closed_above() {
  local path=$1 found=
  while [ "$path" != / ]; do
    path=$(dirname "$path")
    if [ -z "$(find "$path" -maxdepth 0 -perm -o=x)" ]; then found=$path; fi
  done
  printf '%s' "$found"
}

mount -t tmpfs tmpfs /mnt
for number in "${!places[@]}"; do
  mkdir "/mnt/$number"
  mount --rbind "${places[number]}" "/mnt/$number"
done
for number in "${!places[@]}"; do
  closed=$(closed_above "${places[number]}")
  if [ -n "$closed" ]; then mount -t tmpfs -o mode=0755 tmpfs "$closed"; fi
  mkdir -p "${places[number]}"
  mount --move "/mnt/$number" "${places[number]}"
done
{ cat /etc/passwd && printf 'prod:x:%s:%s::%s:/bin/sh\n' "$user" "$user" "$home"; } >/mnt/passwd
mount --bind /mnt/passwd /etc/passwd
cd "$PWD" # through the new mount
exec setpriv --reuid "$user" --regid "$user" --groups "$(stat -c %g /var/run/docker.sock)" --inh-caps=-all --bounding-set=-all \
  --no-new-privs env -u SUDO_USER HOME="$home" USER=prod LOGNAME=prod "$@"
