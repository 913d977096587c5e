# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role maintenance_mode on a real stack with nginx and a real BIND: the page stays whatever DNS says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from harness import REPOSITORY, command, flat, free_port
from name_server import ZONE, NameServer, running_name_server
from stacks import IMAGE, Stack, build_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX = "usdx-it/nginx:1"
CONFIGURATION = 'events {} http { server { listen 80; return 200 "application"; } }\n'
ELSEWHERE = "192.0.2.80"


class Site(NamedTuple):
    """A project, its name server, and the variables of its inventory."""

    stack: Stack
    server: NameServer
    port: int
    variables: dict[str, Any]

    def type(self, state: str, *options: str, **variables: Any) -> tuple[int, str]:
        """Type the playbook; return its exit code and the screen in one line."""
        inventory = self.stack.directory / "inventory.json"
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        group = {"hosts": {"shop": host}, "vars": self.variables | variables}
        inventory.write_text(json.dumps({"rollback_app": group}))
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), "maintenance.yml"]
        environment = os.environ | {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [*argv, "-e", f"maintenance={state}", *options],
            check=False, capture_output=True, text=True, cwd=REPOSITORY, env=environment,
        )  # fmt: skip
        assert self.server.secret not in done.stdout + done.stderr
        return done.returncode, flat(done.stdout + done.stderr)

    def status(self) -> int:
        """Return the status that users get; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def hooks(self) -> list[str]:
        """Return what the commands of the project have written."""
        written = self.stack.directory / "hooks"
        return written.read_text().split() if written.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a running project with a zone of its own."""
    build_image()
    command("docker", "build", "--quiet", "--tag", NGINX, str(REPOSITORY / "tests/demo/images/nginx"))
    project, port = tmp_path / "project", free_port()
    services = {
        "nginx": {"build": "nginx", "restart": "always", "ports": [f"127.0.0.1:{port}:80"]},
        "db": {"image": IMAGE},
    }
    with running_name_server(tmp_path) as server, stack(project) as made:
        made.write({
            "compose.yml": json.dumps({"services": services}),
            "nginx/Dockerfile": f"FROM {NGINX}\nCOPY nginx.conf /etc/nginx/nginx.conf\n",
            "nginx/nginx.conf": CONFIGURATION,
            "hook": '#!/bin/sh\necho "$ROLLBACK_MAINTENANCE" >> hooks\n',
        })  # fmt: skip
        (project / "hook").chmod(0o755)
        made.up("--build")
        dns = {"server": "127.0.0.1", "port": server.port, "zone": ZONE, "key_file": str(server.key_file)}
        variables = {
            "rollback_project_directory": str(project),
            "rollback_project_name": made.project,
            "rollback_application_services": ["nginx"],
            "rollback_keep_services": ["db"],
            "rollback_controller_directory": str(tmp_path / "controller"),
            "rollback_maintenance_urls": [f"http://127.0.0.1:{port}/any"],
            "rollback_maintenance_on_commands": [{"argv": ["./hook"]}],
            "rollback_maintenance_off_commands": [{"argv": ["./hook"]}],
            "rollback_maintenance_dns": dns | {"records": [{"name": f"app.{ZONE}", "value": ELSEWHERE}]},
        }
        try:
            yield Site(made, server, port, variables)
        finally:
            label = f"label=usdx.rollback.maintenance={made.project}"
            for page in command("docker", "ps", "-aq", "--filter", label).split():
                command("docker", "rm", "--force", "--volumes", page)


def test_on_and_off(site: Site) -> None:
    """Check, on, on again, status, off, off again."""
    code, screen = site.type("on", "--check")
    assert code == 0, screen
    assert "Maintenance page: would change" in screen
    assert (site.status(), site.server.values("app")[0], site.hooks()) == (200, "198.51.100.7", [])

    code, screen = site.type("on")
    assert code == 0, screen
    assert (site.status(), site.server.values("app"), site.hooks()) == (503, [ELSEWHERE], ["on"])
    assert f"DNS: app.{ZONE}. of app.{ZONE}. switched; resolvers may give former answers for 300 s" in screen
    nginx = site.stack.containers()["nginx-1"]
    assert (nginx["State"]["Status"], nginx["HostConfig"]["RestartPolicy"]["Name"]) == ("exited", "no")
    assert site.type("on")[0] == 0
    code, screen = site.type("status")
    assert code == 0
    assert "Maintenance page: served" in screen
    assert "changed=0" in screen

    code, screen = site.type("off")
    assert code == 0, screen
    assert (site.status(), site.server.values("app")) == (0, ["198.51.100.7", "198.51.100.8"])
    assert site.hooks() == ["on", "on", "off"]
    assert "still stopped and held" in screen
    assert site.type("off", rollback_maintenance_off_commands=[])[0] == 0


def test_the_page_stays_when_dns_does_not_follow(site: Site) -> None:
    """Refused by the server, on the way there and on the way back: users see the page in both cases."""
    locked = site.variables["rollback_maintenance_dns"] | {"records": [{"name": f"locked.{ZONE}", "value": ELSEWHERE}]}
    code, screen = site.type("on", rollback_maintenance_dns=locked)
    assert code != 0
    assert "refused to change shop.example.: REFUSED" in screen
    assert "DNS is as it was" in screen
    assert (site.status(), site.hooks()) == (503, [])

    assert site.type("on")[0] == 0
    site.server.update(f"update delete app.{ZONE} A", f"update add app.{ZONE} 60 A 203.0.113.5")
    code, screen = site.type("off")
    assert code != 0
    assert "Somebody has changed since the switch" in screen
    assert (site.status(), site.server.values("app")) == (503, ["203.0.113.5"])


def test_users_who_do_not_see_the_page_are_noticed(site: Site) -> None:
    """Something else answers at the public URL: a failure that says so, and the page stays."""
    other = free_port()
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(other)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            urls = [*site.variables["rollback_maintenance_urls"], f"http://127.0.0.1:{other}/"]
            code, screen = site.type("on", rollback_maintenance_urls=urls, rollback_maintenance_urls_timeout=2)
        finally:
            process.terminate()
    assert code != 0
    assert f"users do not see it at http://127.0.0.1:{other}/ (status 200)" in screen
    assert (site.status(), site.server.values("app")) == (503, ["198.51.100.7", "198.51.100.8"])


def test_what_nobody_reads_is_refused(site: Site) -> None:
    """A key that is misspelt, before anything stops."""
    code, screen = site.type("status", rollback_maintenance_page={"titel": "x"})
    assert code != 0
    assert "has titel" in screen
    assert site.status() == 200
