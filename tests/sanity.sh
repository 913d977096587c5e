#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ansible-test sanity on a copy of the tree: it wants a folder .../ansible_collections/usdx/rollback, and refuses a link.
# 'sanity.sh VENV' does it with the ansible-core of another virtual environment than .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath "${1:-.venv}")
place=$PWD/.cache/sanity${1:+/$(basename "$1")}
copy=$place/ansible_collections/usdx/rollback
home=$place/home
rm -rf "$place/ansible_collections"
mkdir -p "$copy" "$home/.ansible/test/cache"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  if [ -e "$file" ]; then cp --parents --no-dereference "$file" "$copy"; fi
done

# A repository of its own: else ansible-test asks the one around it, which ignores the copy, and skips every file.
git init --quiet "$copy"

# ansible-test makes virtual environments without pip and fetches get-pip.py for them; ensurepip does the same offline.
# The name is that of the pip which ansible-core 2.17, 2.18 and 2.19, 2.20 and later want.
for version in 23_1_2 24_2 25_2; do
  cat >"$home/.ansible/test/cache/get_pip_$version.py" <<'END'
import ensurepip, os, subprocess, sys
ensurepip.bootstrap()
args = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
bundle = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
args += ["--cert", bundle] if os.path.exists(bundle) else []
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--upgrade", *args]))
END
done
python=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cd "$copy"
HOME=$home PATH="$venv/bin:$PATH" ansible-test sanity --local --color no --python "$python" 2>&1 | tee "$place/log"
if grep -q 'All targets skipped' "$place/log"; then
  echo "ansible-test looked at nothing."
  exit 1
fi
