# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real BIND on a free port of 127.0.0.1, with one zone that takes signed updates."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import command, free_port
from system_packages import programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZONE = "shop.example"
_ZONE_FILE = """$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
app IN A 198.51.100.7
app IN A 198.51.100.8
api 3600 IN A 198.51.100.9
www IN CNAME app
locked IN A 198.51.100.1
"""


@dataclass(frozen=True)
class NameServer:
    """A server that runs. ``key`` is allowed to update; ``secret`` is its secret."""

    port: int
    key_file: Path
    secret: str

    def values(self, name: str, kind: str = "A") -> list[str]:
        """Return what the server answers for a name of the zone."""
        argv = ["dig", "-r", "@127.0.0.1", "-p", str(self.port), "+short", "+norecurse", f"{name}.{ZONE}", kind]
        return sorted(command(*argv).split())

    def update(self, *lines: str) -> None:
        """Change the zone as somebody else would."""
        script = "\n".join([f"server 127.0.0.1 {self.port}", f"zone {ZONE}", *lines, "send", ""])
        argv = ["nsupdate", "-k", str(self.key_file)]
        subprocess.run(argv, input=script, text=True, check=True, capture_output=True)


@contextlib.contextmanager
def running_name_server(directory: Path) -> Iterator[NameServer]:
    """Give a server; its files are below ``directory``."""
    named, *_others = programs(["named", "dig", "nsupdate"], ["bind9", "bind9-dnsutils"])
    port, secret = free_port(), b64encode(secrets.token_bytes(32)).decode()
    key = f'key "rollback." {{ algorithm hmac-sha256; secret "{secret}"; }};\n'
    key_file = directory / "rollback.key"
    key_file.write_text(key)
    key_file.chmod(0o600)
    (directory / "zone").write_text(_ZONE_FILE)
    (directory / "named.conf").write_text(f"""{key}
key "stranger." {{ algorithm hmac-sha256; secret "{b64encode(b"x" * 32).decode()}"; }};
options {{
  directory "{directory}"; pid-file "named.pid"; session-keyfile none; managed-keys-directory "{directory}";
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; notify no;
}};
controls {{ }};
zone "{ZONE}" {{
  type primary; file "zone";
  update-policy {{ deny rollback. name locked.{ZONE}. ANY; grant rollback. zonesub ANY; }};
}};
""")
    log = directory / "named.log"
    with log.open("w") as output:
        process = subprocess.Popen([named, "-g", "-n", "1", "-c", str(directory / "named.conf")], stderr=output)
    server = NameServer(port, key_file, secret)
    try:
        deadline = time.monotonic() + 20
        while "running" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        assert server.values("api") == ["198.51.100.9"]
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)
