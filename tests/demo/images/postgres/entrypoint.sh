#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the database at the first start, then becomes the server.
set -euo pipefail

create_cluster() {
  local user=$1 database=$2
  # The cluster appears under its final name only when it is complete, so that a start that was killed begins again.
  local work=$PGDATA.making
  rm -rf "$work"
  initdb --pgdata="$work" --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 >/dev/null
  echo 'host all all all scram-sha-256' >>"$work/pg_hba.conf"
  if [[ $database != postgres ]]; then
    printf 'CREATE DATABASE "%s";\n' "$database" | postgres --single -D "$work" postgres >/dev/null
  fi
  mv "$work" "$PGDATA"
}

: "${POSTGRES_PASSWORD:?is not set; the demo writes it to the file .env}"
[[ -s $PGDATA/PG_VERSION ]] || create_cluster "${POSTGRES_USER:-postgres}" "${POSTGRES_DB:-${POSTGRES_USER:-postgres}}"
unset POSTGRES_PASSWORD
# The address is one of the Compose network; no port is published.
exec "$@" -D "$PGDATA" -c listen_addresses='*'
