# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker starts and what ends while a command runs: ``watch_docker.py FILE COMMAND [WORD ...]``.

The events are written to FILE, one JSON object a line. The command's screen and exit code are passed on.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

WATCH = ("--filter", "type=container", "--filter", "event=start", "--filter", "event=die", "--format", "{{json .}}")


def main() -> int:
    """Watch while the command runs; return its exit code."""
    path, *command = sys.argv[1:]
    with Path(path).open("w", encoding="utf-8") as file:
        since = str(int(time.time()))  # the daemon tells what has been since, however late it answers
        watching = subprocess.Popen(["docker", "events", "--since", since, *WATCH], stdout=file)
        try:
            return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
        finally:
            watching.terminate()
            watching.wait()


if __name__ == "__main__":
    sys.exit(main())
