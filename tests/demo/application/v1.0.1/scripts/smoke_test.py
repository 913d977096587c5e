"""Asks the published port for what users need; says what fails."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PATHS = ("/", "/api/pools", "/api/wexels", "/api/stats")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def port() -> str:
    """Return the published port, from the environment file."""
    lines = (CHECKOUT / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["HTTP_PORT"]


def get(path: str) -> str:
    """Return what a path answers; the exception says why it does not."""
    with DIRECT.open(f"http://127.0.0.1:{port()}{path}", timeout=5) as answer:
        return answer.read().decode()


def fault(path: str) -> str | None:
    """Return what is wrong with a path, or nothing."""
    try:
        get(path)
    except (OSError, urllib.error.URLError) as error:
        return f"{path}: {error}"
    return None


def fault_of_version() -> str | None:
    """Return what is wrong with the version that answers, or nothing."""
    wanted = "v" + json.loads((CHECKOUT / "package.json").read_text(encoding="utf-8"))["version"]
    try:
        health = json.loads(get("/health"))
    except (OSError, ValueError) as error:
        return f"/health: {error}"
    return None if health["version"] == wanted else f"/health: version {health['version']}, not {wanted}"


def main() -> int:
    """Print each fault; return 1 when there is one."""
    faults = [found for found in (fault_of_version(), *map(fault, PATHS)) if found]
    print("\n".join(faults) or "all paths answer")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
