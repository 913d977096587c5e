#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes sure that Docker answers, with Compose v2 or later and the base image of the demo. Does nothing where all is there.
# 'docker.sh stop' ends the daemon if this script started it and no container runs any more.
# 'docker.sh base debian:trixie-slim' provides that base image instead.
set -euo pipefail

base=${USDX_BASE_IMAGE:-debian:bookworm-slim}
log=${USDX_DOCKERD_LOG:-/var/log/usdx-dockerd.log}
started_by_us=/var/run/usdx-dockerd.pid

say() { printf 'docker: %s\n' "$*"; }
give_up() {
  printf 'docker: %s\n' "$@" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
answers() { timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

compose_works() {
  local version
  have docker && version=$(docker compose version --short 2>/dev/null) || return 1
  version=${version#v}
  [[ ${version%%.*} =~ ^[0-9]+$ && ${version%%.*} -ge 2 ]]
}

# A killed daemon that nobody has waited for still has a name in /proc, but its state is Z.
daemon_runs() {
  local comm
  for comm in /proc/[0-9]*/comm; do
    if grep -qsx dockerd "$comm" && ! grep -qs '^State:[[:space:]]*Z' "${comm%/comm}/status"; then return 0; fi
  done
  return 1
}

may_install() { have apt-get && [[ $EUID -eq 0 && " $ID ${ID_LIKE:-} " =~ ' '(debian|ubuntu)' ' ]]; }

refuse() {
  give_up "$1 is missing, and this script installs it only as root on Debian or Ubuntu." \
    "Install Docker Engine, the Compose plugin (v2 or later) and the Buildx plugin, then run this again:" \
    "https://docs.docker.com/engine/install/"
}

install() {
  say "installing with apt: $*"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The Debian mirror that this machine uses already, in whatever format its sources are written. Apt tells only of
# those whose lists it has fetched.
mirror() {
  # shellcheck disable=SC2016 # apt's own placeholders
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 -E '/debian/?$' || true
}

# Debian 12 has Compose v1 only. These two packages alone come from Debian 13; nothing else of it can be installed.
offer_compose_of_trixie() {
  local from
  from=$(mirror)
  [[ -n $from ]] || return 0
  say "adding Debian 13 as a source for the packages docker-compose and docker-buildx alone:" \
    "/etc/apt/sources.list.d/usdx-compose.list, /etc/apt/preferences.d/usdx-compose"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$from" \
    >/etc/apt/sources.list.d/usdx-compose.list
  printf '%s\n' 'Package: *' 'Pin: release n=trixie' 'Pin-Priority: -1' '' \
    'Package: docker-compose docker-buildx' 'Pin: release n=trixie' 'Pin-Priority: 990' \
    >/etc/apt/preferences.d/usdx-compose
}

# Names differ: Ubuntu calls Compose v2 docker-compose-v2; Debian 13 has the client in a package of its own.
packages() {
  local package
  for package in ca-certificates iptables docker.io docker-cli docker-compose-v2 docker-compose docker-buildx; do
    case $package in
      docker-cli) [[ ${VERSION_CODENAME:-} != bookworm ]] || continue ;;
      docker-compose) ! apt-cache show docker-compose-v2 >/dev/null 2>&1 || continue ;;
    esac
    if apt-cache show "$package" >/dev/null 2>&1; then echo "$package"; fi
  done
}

install_docker() {
  may_install || refuse "Docker with Compose v2"
  say "Docker with Compose v2 is missing: it will be installed from this system's packages"
  apt-get update -qq
  if [[ ${VERSION_CODENAME:-} == bookworm ]]; then
    offer_compose_of_trixie
    apt-get update -qq
  fi
  local wanted
  mapfile -t wanted < <(packages)
  install "${wanted[@]}"
  compose_works || give_up "the packages of $PRETTY_NAME hold no Compose v2." \
    "Install the Compose plugin (v2 or later), then run this again: https://docs.docker.com/compose/install/linux/"
}

start_daemon() {
  have dockerd || refuse "a Docker daemon"
  [[ $EUID -eq 0 ]] || give_up "no Docker daemon answers this user. Start it (sudo systemctl start docker), or join the group docker."
  local attempt daemon=
  if daemon_runs; then
    say "a Docker daemon runs but does not answer yet: waiting"
  elif [[ -d /run/systemd/system ]]; then
    say "starting the Docker daemon with systemd"
    systemctl start docker || true
  else
    say "starting the Docker daemon; its log is $log"
    # A daemon that was killed leaves this file, and no other can start.
    rm -rf /var/run/docker.pid /var/run/docker/containerd
    setsid nohup dockerd >"$log" 2>&1 </dev/null &
    daemon=$!
    echo "$daemon" >"$started_by_us"
  fi
  for attempt in {1..120}; do
    ! answers || return 0
    [[ -z $daemon ]] || kill -0 "$daemon" 2>/dev/null || give_up "the Docker daemon ended at once. Its last words:" "$(tail -n 5 "$log")"
    sleep 0.5
  done
  give_up "no daemon answered after $((attempt / 2)) s. The reason is at the end of $log, or: journalctl -u docker"
}

make_base() {
  local suite=${base#*:} from
  suite=${suite%-slim}
  if ! have mmdebstrap; then
    may_install || refuse "the image $base cannot be pulled, and mmdebstrap, which makes it,"
    apt-get update -qq
    install mmdebstrap debian-archive-keyring
  fi
  from=$(mirror)
  if [[ -z $from ]] && may_install; then
    apt-get update -qq
    from=$(mirror)
  fi
  say "making $base with mmdebstrap from ${from:-the default mirror of mmdebstrap}"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates "$suite" - ${from:+"$from"} | docker import - "$base" >/dev/null
}

provide_base() {
  say "pulling $base"
  if timeout 60 docker pull -q "$base" >/dev/null 2>&1; then return; fi
  [[ $base == debian:* ]] || give_up "the image $base cannot be pulled. Name another with USDX_BASE_IMAGE."
  make_base
}

# setsid forks only when it leads a group already, so the number that was kept is the daemon's own.
stop_daemon() {
  local pid
  pid=$(cat "$started_by_us" 2>/dev/null) || return 0
  if [[ $(cat "/proc/$pid/comm" 2>/dev/null) != dockerd ]]; then
    rm -f "$started_by_us"
    return 0
  fi
  if answers && [[ -n $(docker ps --quiet) ]]; then
    say "containers still run: the daemon that this script started goes on"
    return 0
  fi
  say "stopping the Docker daemon that this script started"
  kill "$pid"
  while [[ -e /proc/$pid ]]; do sleep 0.2; done
  rm -f "$started_by_us"
}

case ${1:-} in
  stop)
    stop_daemon
    exit
    ;;
  base) base=${2:?names no image} ;;
esac

ID=unknown
# shellcheck source=/dev/null
[[ ! -r /etc/os-release ]] || . /etc/os-release
compose_works || install_docker
answers || start_daemon
docker image inspect "$base" >/dev/null 2>&1 || provide_base
say "ready: engine $(docker version --format '{{.Server.Version}}'), Compose $(docker compose version --short), $base"
