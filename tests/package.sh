#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds the collection, looks at what it ships, installs it in an empty folder and calls it from there.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf dist .cache/installed
ansible-galaxy collection build --force --output-path dist >/dev/null
archive=$(ls dist/usdx-rollback-*.tar.gz)
shipped=$(tar -tzf "$archive" | cut -d/ -f1 | sort -u | tr '\n' ' ')
wanted=".ansible-lint CHANGELOG.md CONTRIBUTING.md FILES.json LICENSE LICENSES MANIFEST.json README.md bindep.txt changelogs docs extensions meta playbooks plugins requirements.txt roles "
if [ "$shipped" != "$wanted" ]; then
  printf 'The archive ships\n  %s\nand should ship\n  %s\n' "$shipped" "$wanted"
  exit 1
fi
ansible-galaxy collection install --force --offline --collections-path .cache/installed "$archive" >/dev/null
cd .cache/installed
: >ansible.cfg
export ANSIBLE_CONFIG="$PWD/ansible.cfg" ANSIBLE_COLLECTIONS_PATH="$PWD"
ansible-playbook usdx.rollback.rollback --syntax-check -i localhost, >/dev/null
ansible-playbook usdx.rollback.application_bug --syntax-check -i localhost, >/dev/null
# Without an inventory of application hosts the installed playbook refuses in plain words.
if screen=$(ansible-playbook usdx.rollback.rollback -i localhost, -e version=v1.0.2 2>&1); then
  echo "The playbook ended with success although no host matched."
  exit 1
fi
grep -q 'No host of the inventory matches' <<<"$screen"
# So does the one playbook that needs another collection, where that one is not installed.
if screen=$(ansible-playbook usdx.rollback.awx_setup -i localhost, 2>&1); then
  echo "The playbook ended with success although awx.awx is not installed."
  exit 1
fi
grep -q 'ansible-galaxy collection install awx.awx' <<<"$screen"
