#!/usr/bin/env bash
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ansible-test sanity on a copy of the tree: it wants a folder .../ansible_collections/usdx/rollback, and refuses a link.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=.cache/sanity/ansible_collections/usdx/rollback
rm -rf .cache/sanity/ansible_collections
mkdir -p "$copy" .cache/sanity/home/.ansible/test/cache
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  if [ -e "$file" ]; then cp --parents --no-dereference "$file" "$copy"; fi
done

# A repository of its own: else ansible-test asks the one around it, which ignores the copy, and skips every file.
git init --quiet "$copy"

# ansible-test makes virtual environments without pip and fetches get-pip.py for them; ensurepip does the same offline.
cat >.cache/sanity/home/.ansible/test/cache/get_pip_24_2.py <<'END'
import ensurepip, os, subprocess, sys
ensurepip.bootstrap()
args = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
bundle = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
args += ["--cert", bundle] if os.path.exists(bundle) else []
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--upgrade", *args]))
END
home=$PWD/.cache/sanity/home
python=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cd "$copy"
HOME=$home ansible-test sanity --local --color no --python "$python" 2>&1 | tee ../../../../sanity.log
if grep -q 'All targets skipped' ../../../../sanity.log; then
  echo "ansible-test looked at nothing."
  exit 1
fi
