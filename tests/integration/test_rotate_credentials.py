# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role rotate_credentials while an application runs: what its clients see, and where no secret may be found."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from credential_stand import ADMIN, ADMIN_PASSWORD, DATABASE, Stand, stand
from harness import flat
from postgres_servers import VERSIONS, image_of

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
WEB = """\
  web:
    image: {image}
    entrypoint: [bash, -c]
    command:
      - >-
        trap 'exit 0' TERM;
        case $$PGPASSWORD in $$ACCEPTED*) ;; *) exit 7 ;; esac;
        while :; do psql -qAtX -h db -d shop -c "SELECT 1" >/dev/null 2>&1 && echo ok || echo failed;
        sleep 0.1; done
    environment:
      PGUSER: "${{DB_USER}}"
      PGPASSWORD: "${{DB_PASSWORD}}"
      ACCEPTED: "${{ACCEPTED:-}}"
    stop_grace_period: 2s
"""
PLAY = """\
- hosts: shop
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: usdx.rollback.rotate_credentials
        apply: {check_mode: true}
      vars: {rotate_credentials_planning: true}
    - ansible.builtin.copy:
        content: "{{ rotate_credentials_result | to_json }}"
        dest: "{{ told }}/plan.json"
      check_mode: false
    - ansible.builtin.include_role:
        name: usdx.rollback.rotate_credentials
    - ansible.builtin.copy:
        content: "{{ rotate_credentials_result | to_json }}"
        dest: "{{ told }}/done.json"
"""


# One version: what differs between servers is tested with the module.
@pytest.fixture(scope="module", params=VERSIONS[-1:])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Give a project whose application logs what each of its connections sees."""
    more = WEB.format(image=image_of(request.param))
    with stand(tmp_path_factory.mktemp("shop"), request.param, more) as made:
        yield made


def web_is_up(place: Stand, *, pair: bool, accepted: str = "") -> None:
    """Have the application running with the old secret."""
    place.fresh(pair=pair)
    if accepted:
        place.file.write_text(place.file.read_text() + f"ACCEPTED={accepted}\n")
    place.stack.up("--force-recreate", "--no-deps", "web")
    deadline = time.monotonic() + 30
    while "ok" not in place.logs("web"):
        assert time.monotonic() < deadline, place.logs("web")
        time.sleep(0.1)


def play(place: Stand, *, pair: bool, hosts: int = 1, **more: Any) -> tuple[int, str]:
    """Run the role at -vvv, planned first; return its code and all that it showed."""
    credentials = [
        one | ({"services": ["web"]} if one["name"] == "database" else {}) for one in place.credentials(pair=pair)
    ]
    variables = {
        "rollback_project_directory": str(place.stack.directory), "rollback_project_name": place.project,
        "rollback_application_services": [["web"]], "rollback_keep_services": ["db", "redis"],
        "rollback_state_directory": str(place.state), "told": str(place.state.parent),
        "rollback_database": DATABASE, "rollback_credentials": credentials,
        "rollback_database_login": {"service": "db", "login_user": ADMIN, "login_password": ADMIN_PASSWORD},
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable, **more,
    }  # fmt: skip
    inventory, book = place.stack.directory / "hosts.json", place.stack.directory / "play.yml"
    inventory.write_text(json.dumps({"shop": {"hosts": {f"h{n}": variables for n in range(hosts)}}}))
    inventory.chmod(0o600)
    book.write_text(PLAY)
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvv", "-i", str(inventory), str(book)]
    environment = os.environ | {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, env=environment, cwd=REPOSITORY, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout + done.stderr


def told(place: Stand, name: str) -> dict[str, Any]:
    return dict(json.loads((place.state.parent / f"{name}.json").read_text()))


class Watcher:
    """Looks at the process list and connects as a client does, all the time, while a block runs."""

    def __init__(self, place: Stand) -> None:
        """Watch nothing yet."""
        self.place = place
        self.commands: set[bytes] = set()
        self.tries = 0
        self.failed: list[float] = []
        self._address = place.address("db")
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._look), threading.Thread(target=self._connect)]

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while a block runs."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.commands.add(path.read_bytes())
            self._over.wait(0.01)

    def _connect(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            user, password = self.place.held("DB_USER") or "", self.place.held("DB_PASSWORD") or ""
            self.tries += 1
            if not self.place.opens(user, password):
                self.failed.append(began)
            self._over.wait(0.02)


def readable_by_all(*folders: Path) -> Iterator[Path]:
    """Give each file that everybody can read; other programs remove files meanwhile."""
    for folder in folders:
        for top, _folders, names in os.walk(folder):
            for path in (Path(top) / name for name in names):
                with contextlib.suppress(OSError):
                    reached = all(stat.S_IMODE(one.stat().st_mode) & 0o001 for one in path.parents)
                    if path.is_file() and path.stat().st_mode & stat.S_IROTH and reached:
                        yield path


def assert_nothing_leaked(place: Stand, secrets: set[str], screen: str, watcher: Watcher, since: float) -> None:
    """Look for new secrets where others could find them."""
    texts = {"screen": screen, "processes": b"\0".join(watcher.commands).decode(errors="replace")}
    texts |= {service: place.logs(service) for service in ("db", "redis", "web")}
    texts |= {name: json.dumps(told(place, name)) for name in ("plan", "done")}
    if shutil.which("journalctl"):
        argv = ["journalctl", "--no-pager", "--since", f"@{int(since)}"]
        texts["journal"] = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    assert "psql" in texts["processes"], "the process list was seen"
    assert "ALTER SYSTEM" in texts["db"] or "CREATE ROLE" in texts["db"], "the server logs statements"
    assert len(secrets) == 4
    found = [where for where, text in texts.items() for secret in secrets if secret in text]
    assert found == []
    folders = [Path("/tmp"), Path("/var/tmp"), Path("/var/log"), Path.home() / ".ansible"]  # noqa: S108 - looked at only
    for path in readable_by_all(place.stack.directory, *folders):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime >= since - 1 and path.stat().st_size < 50_000_000:
                content = path.read_bytes()
                assert not [secret for secret in secrets if secret.encode() in content], path


@pytest.mark.parametrize("pair", [False, True], ids=["one role", "two roles"])
def test_rotation_while_a_client_runs(place: Stand, *, pair: bool) -> None:
    web_is_up(place, pair=pair)
    old_container = place.stack.identity("web-1")
    kept = place.stack.identity("db-1", "redis-1")
    since = time.time()
    watcher = Watcher(place)
    with watcher.watching():
        code, screen = play(place, pair=pair)
    assert code == 0, screen[-4000:]
    plan, done = told(place, "plan"), told(place, "done")
    assert [row["action"] for row in plan["credentials"]] == ["rotate"] * 4 + ["by a person"]
    assert list(plan["running"]) == ["web"]
    assert done["changed"] is True
    assert done["restarted"] == ["web"]
    assert done["open_items"][0] == "mail: make a new key in its console"
    rows = {row["name"]: row for row in done["credentials"]}
    for name in ("database", "cache"):
        assert (rows[name]["works"]["verdict"], rows[name]["refused"]["verdict"]) == ("passed", "passed")
    assert place.works()
    assert place.old not in place.file.read_text()
    assert not [role for role in ("app", "app_a", "app_b") if place.opens(role, place.old)]
    assert not place.redis_opens(place.old)
    assert watcher.tries > 20
    if pair:
        assert watcher.failed == [], "two roles: no connection fails"
        assert rows["database"]["gap_seconds"] is None
    else:
        assert 0 < rows["database"]["gap_seconds"] < 120
        seen = max(watcher.failed, default=0) - min(watcher.failed, default=0)
        assert seen <= rows["database"]["gap_seconds"], "no client saw a longer gap than is told"
    assert place.stack.identity("web-1") != old_container
    assert place.stack.identity("db-1", "redis-1") == kept
    assert place.stack.states()["web-1"] == "running"
    web = place.stack.compose("logs", "--no-color", "--tail", "3", "web")
    assert "ok" in web.splitlines()[-1], "the application works with what it was given"
    assert_nothing_leaked(place, place.secrets_of_file(), screen, watcher, since)


@pytest.mark.long
def test_a_service_that_does_not_start_brings_all_back(place: Stand) -> None:
    web_is_up(place, pair=True, accepted="old-")
    text = place.file.read_text()
    code, screen = play(place, pair=True, rollback_start_timeout=20)
    assert code != 0
    assert "The old secrets are back" in flat(screen)
    assert place.file.read_text() == text
    assert place.works()
    assert place.opens("app_a", place.old)
    assert place.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app_b'") == [(False,)]
    assert place.stack.states()["web-1"] == "running"
    assert not (place.state / "credentials" / "pending.json").exists()
    place.file.write_text(text.replace("ACCEPTED=old-\n", ""))
    assert play(place, pair=True)[0] == 0
    assert place.works()
    assert not place.opens("app_a", place.old)


@pytest.mark.long
def test_services_that_are_stopped_stay_so(place: Stand) -> None:
    web_is_up(place, pair=False)
    place.stack.compose("stop", "web")
    code, screen = play(place, pair=False, run_id="20261124T160728Z-960a")
    assert code == 0, screen[-4000:]
    done = told(place, "done")
    assert (done["not_running"], done["restarted"]) == (["web"], [])
    assert place.stack.states()["web-1"] == "exited"
    assert place.works()
    text = place.file.read_text()
    code, screen = play(place, pair=False, run_id="20261124T160728Z-960a")
    assert (code, told(place, "done")["changed"], place.file.read_text()) == (0, False, text), screen[-4000:]


def test_what_it_cannot_do_is_refused(place: Stand) -> None:
    web_is_up(place, pair=False)
    text = place.file.read_text()
    code, screen = play(place, pair=False, hosts=2)
    assert code != 0
    assert "one application host" in flat(screen)
    code, screen = play(place, pair=False, rollback_application_services=["other"])
    assert code != 0
    assert "names the services web" in flat(screen)
    assert place.file.read_text() == text
