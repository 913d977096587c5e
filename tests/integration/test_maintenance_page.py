# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""maintenance_page on a real stack with nginx: check, real, check, real; then asked by HTTP and looked at in Docker."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from harness import REPOSITORY, Outcome, call_module, command, flat, free_port
from stacks import IMAGE, Stack, build_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX = "usdx-it/nginx:1"
ANSWERS_200 = "events {} http { access_log off; server { listen 8080; return 200; } }"
ANSWERS_RIGHT = (
    "events {} http { access_log off; server { listen $MAINTENANCE_PORT; return 503; "
    "add_header X-Maintenance-Page $MAINTENANCE_MARKER always; "
    "add_header Retry-After $MAINTENANCE_RETRY_AFTER always; add_header Cache-Control no-store always; } }"
)
CONFIGURATION = """
events {}
http {
  server { listen 80; location / { return 200 "application"; } }
}
"""


class Shop(NamedTuple):
    """A stack whose nginx is stopped, and the ports that it publishes."""

    stack: Stack
    port: int
    tls_port: int

    def call(self, *, check: bool = False, **options: Any) -> Outcome:
        """Call the module for this stack."""
        defaults = {"project": self.stack.project, "services": ["nginx"]}
        return call_module("maintenance_page", defaults | options, check=check)

    def pages(self) -> list[dict[str, Any]]:
        """Return what Docker says of the page containers of this stack."""
        label = f"label=usdx.rollback.maintenance={self.stack.project}"
        ids = command("docker", "ps", "-aq", "--filter", label).split()
        found: list[dict[str, Any]] = json.loads(command("docker", "inspect", *ids)) if ids else []
        return found


class Answer(NamedTuple):
    """What a port answered."""

    status: int
    headers: dict[str, str]
    body: str


def ask(port: int, method: str = "GET", path: str = "/", accept: str = "text/html", body: bytes = b"") -> Answer:
    """Ask a port of this host once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body=body or None, headers={"Accept": accept})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
    finally:
        connection.close()


def refuses(port: int) -> bool:
    """Tell whether nothing listens at a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def until(holds: Any, seconds: float = 15) -> None:
    """Wait until something holds; a connection that fails does not."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    """Have the images of the services; they stay as a cache."""
    build_image()
    command("docker", "build", "--quiet", "--tag", NGINX, str(REPOSITORY / "tests/demo/images/nginx"))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Shop]:
    """Give a stack that runs: nginx, built by Compose, and a worker without ports."""
    port, tls_port = free_port(), free_port()
    compose = {
        "services": {
            "nginx": {"build": "nginx", "restart": "unless-stopped",
                      "ports": [f"127.0.0.1:{port}:80", f"127.0.0.1:{tls_port}:443"],
                      "healthcheck": {"test": ["CMD", "false"]}},
            "worker": {"image": IMAGE, "restart": "always"},
        }
    }  # fmt: skip
    with stack(tmp_path) as made:
        made.write({
            "compose.yml": json.dumps(compose),
            "nginx/Dockerfile": f"FROM {NGINX}\nCOPY nginx.conf /etc/nginx/nginx.conf\n",
            "nginx/nginx.conf": CONFIGURATION,
        })  # fmt: skip
        made.up("--build")
        shop = Shop(made, port, tls_port)
        try:
            until(lambda: ask(port).body == "application")
            yield shop
        finally:
            for page in shop.pages():
                command("docker", "rm", "--force", "--volumes", page["Id"])


@pytest.fixture
def shop(running: Shop) -> Shop:
    """Give the stack with its nginx stopped."""
    running.stack.compose("stop", "nginx")
    return running


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """Give a certificate whose key only its owner may read."""
    names = {"tls_certificate": str(tmp_path / "page.pem"), "tls_key": str(tmp_path / "page.key")}
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop.example"]
    command(*argv, "-out", names["tls_certificate"], "-keyout", names["tls_key"])
    Path(names["tls_key"]).chmod(0o600)
    return names


def test_check_real_check_real(shop: Shop) -> None:
    """On, on, off, off, and before each what check mode says."""
    foreseen = shop.call(check=True)
    assert not foreseen.failed
    assert foreseen["changed"]
    assert shop.pages() == []
    assert refuses(shop.port)

    done = shop.call()
    assert not done.failed
    assert done["changed"]
    assert done["served"]
    assert done["marker"] == foreseen["marker"]
    assert done["answers"] == [{"url": f"http://127.0.0.1:{shop.port}/", "wrong": ""}]
    assert '+    "title": "We will be back soon"' in done.shown
    answer = ask(shop.port)
    assert answer.status == 503
    assert answer.headers["X-Maintenance-Page"] == done["marker"]
    assert answer.body == done["html"]
    (page,) = shop.pages()

    for check in (True, False):
        again = shop.call(check=check)
        assert not again.failed
        assert not again["changed"]
        assert again["served"]
    assert [one["Id"] for one in shop.pages()] == [page["Id"]]
    status = shop.call(state="status")
    assert (status["served"], status["changed"], status["marker"]) == (True, False, done["marker"])
    assert status["page"]["text"] == done["page"]["text"]

    foreseen = shop.call(state="removed", check=True)
    assert foreseen["changed"]
    assert ask(shop.port).status == 503
    volumes = [mount["Name"] for mount in page["Mounts"] if mount["Type"] == "volume"]
    removed = shop.call(state="removed")
    assert not removed.failed
    assert removed["changed"]
    assert '-    "title": "We will be back soon"' in removed.shown
    assert refuses(shop.port)
    assert shop.pages() == []
    assert volumes
    assert not set(volumes) & set(command("docker", "volume", "ls", "-q").split())
    for check in (True, False):
        again = shop.call(state="removed", check=check)
        assert not again.failed
        assert not again["changed"]
    assert not shop.call(state="status")["served"]

    shop.stack.compose("start", "nginx")
    until(lambda: ask(shop.port).body == "application")


def test_every_request_gets_the_page(shop: Shop) -> None:
    """Paths, methods, what clients accept, and what is no HTTP."""
    done = shop.call(text='Now <b>bold</b> & "quoted"', contact="ops@example.com", retry_after=120)
    marker = done["marker"]
    paths = ["/", "/api/v1/x?y=%2F", "/page.html", "/page.json", "/nginx.conf", "/../../etc/passwd"]
    paths += ["/%00", "/a" * 5000]
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "WHATEVER"):
        for path in paths if method == "GET" else paths[:2]:
            answer = ask(shop.port, method, path, body=b"x" * 2_000_000 if method in {"POST", "PUT"} else b"")
            assert answer.status == 503, (method, path[:40])
            assert answer.headers["Retry-After"] == "120"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Maintenance-Page"] == marker
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert ("Now &lt;b&gt;bold&lt;/b&gt; &amp;" in answer.body) is (method != "HEAD")
            assert not {"ETag", "Last-Modified", "Accept-Ranges", "Location"} & set(answer.headers)
    for accept in ("application/json", "application/problem+json, */*"):
        answer = ask(shop.port, "POST", "/api", accept=accept)
        assert (answer.status, answer.headers["Content-Type"]) == (503, "application/json; charset=utf-8")
        assert json.loads(answer.body)["message"] == 'Now <b>bold</b> & "quoted"'
        assert json.loads(answer.body)["retry_after"] == 120
    browser = "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"
    assert ask(shop.port, accept=browser).body.startswith("<!DOCTYPE html>")
    with socket.create_connection(("127.0.0.1", shop.port), timeout=5) as client:
        client.sendall(b"no http at all\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")


def test_the_container_can_do_nothing_else(shop: Shop) -> None:
    """Read-only, nobody, no capability, limits; and Compose does not know it."""
    shop.call()
    (page,) = shop.pages()
    host = page["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == 64 * 1024 * 1024
    assert 0 < host["PidsLimit"] <= 64
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert page["Config"]["User"] == "65534:65534"
    assert list(page["NetworkSettings"]["Networks"]) == ["bridge"]
    assert "Health" not in page["State"]  # that of the image would call it unhealthy
    status = Path(f"/proc/{page['State']['Pid']}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    for script in ("echo x > /maintenance/page.html", "rm /maintenance/page.html", "touch /etc/x", "touch /var/x"):
        with pytest.raises(AssertionError, match=r"denied|Read-only"):
            command("docker", "exec", page["Id"], "sh", "-c", script)

    image = json.loads(command("docker", "image", "inspect", page["Image"]))[0]["Config"]["Labels"]
    assert image["com.docker.compose.project"] == shop.stack.project  # what must not be inherited
    assert page["Id"] not in command("docker", "ps", "-aq", "--no-trunc", "--filter",
                                     f"label=com.docker.compose.project={shop.stack.project}")  # fmt: skip
    groups = [["nginx", "worker"]]
    stopped = call_module("compose_stop", {"project": shop.stack.project, "groups": groups, "hold": True})
    assert not stopped.failed
    shop.stack.compose("down", "--remove-orphans")
    assert ask(shop.port).status == 503
    assert not shop.call(state="removed").failed  # no container of the project is left


def test_it_comes_back_when_it_dies(shop: Shop) -> None:
    """A process that dies is started again by Docker; a container that was killed, by the next call."""
    marker = shop.call()["marker"]
    (page,) = shop.pages()
    os.kill(page["State"]["Pid"], signal.SIGKILL)
    until(lambda: shop.pages()[0]["State"]["Pid"] not in {0, page["State"]["Pid"]})
    until(lambda: ask(shop.port).headers["X-Maintenance-Page"] == marker)
    command("docker", "restart", page["Id"])
    until(lambda: ask(shop.port).status == 503)

    command("docker", "kill", page["Id"])
    status = shop.call(state="status")
    assert not status["served"]
    assert "does not run (exited)" in flat(status.progress)
    again = shop.call()
    assert not again.failed
    assert again["changed"]
    assert ask(shop.port).headers["X-Maintenance-Page"] == marker
    assert [one["State"]["Status"] for one in shop.pages()] == ["running"]

    command("docker", "pause", shop.pages()[0]["Id"])
    assert not shop.call(state="status")["served"]
    mended = shop.call()
    assert mended["changed"], mended

    for pid in command("docker", "top", shop.pages()[0]["Id"], "-o", "pid").split()[1:]:
        os.kill(int(pid), signal.SIGSTOP)  # runs, and does not answer
    status = shop.call(state="status")
    assert not status["served"]
    assert "no whole answer within 5 seconds" in status["answers"][0]["wrong"]
    mended = shop.call()
    assert mended["changed"]
    assert ask(shop.port).status == 503


def test_running_services_are_refused_and_planned(running: Shop) -> None:
    """The page takes nobody's place; a plan may assume that the stop comes before."""
    for check in (True, False):
        refused = running.call(check=check)
        assert refused.failed
        assert "Still running: nginx" in refused["msg"]
    assert running.call(assume_stopped=True).failed  # only for a plan
    planned = running.call(assume_stopped=True, check=True)
    assert not planned.failed
    assert planned["changed"]
    assert [one["port"] for one in planned["ports"]] == [running.port]
    assert [one["port"] for one in planned["closed"]] == [running.tls_port]
    assert "to be stopped before" in flat(planned.progress)
    assert ask(running.port).body == "application"
    assert running.pages() == []


def test_ports_of_somebody_else(shop: Shop, tmp_path: Path) -> None:
    """Who holds a port is named, nothing is changed, and the holder is not touched."""
    name = f"{shop.stack.project}-other"
    try:
        command("docker", "run", "--detach", "--name", name, "--publish", f"127.0.0.1:{shop.port}:80", IMAGE)
        for check in (True, False):
            refused = shop.call(check=check)
            assert refused.failed
            assert f"the container {name} holds 127.0.0.1:{shop.port}" in refused["msg"]
            assert "Nothing was changed" in refused["msg"]
        assert command("docker", "inspect", "--format", "{{.State.Status}}", name).strip() == "running"
        command("docker", "rm", "--force", name)

        configuration = tmp_path / "host.conf"
        configuration.write_text(CONFIGURATION.replace("listen 80", f"listen 127.0.0.1:{shop.port}"))
        command("docker", "run", "--detach", "--name", name, "--network", "host", "--volume",
                f"{configuration}:/etc/nginx/nginx.conf:ro", NGINX)  # fmt: skip
        until(lambda: not refuses(shop.port))
        assert f"the container {name} holds" in shop.call()["msg"]
    finally:
        command("docker", "rm", "--force", "--volumes", name, check=False)
    until(lambda: refuses(shop.port))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", shop.port))
        listener.listen()
        refused = shop.call()
        assert refused.failed
        assert f"(process {os.getpid()}) holds 127.0.0.1:{shop.port}" in refused["msg"]
        assert refused["holders"]
    assert shop.pages() == []
    assert not shop.call().failed


def test_the_application_is_started_while_the_page_is_served(shop: Shop) -> None:
    """The daemon refuses the port; the page goes on. Without the page the application starts."""
    shop.call()
    told = shop.stack.compose("start", "nginx", check=False)
    assert "port is already allocated" in told
    assert ask(shop.port).status == 503
    assert shop.call()["served"]
    shop.call(state="removed")
    shop.stack.compose("start", "nginx")
    until(lambda: ask(shop.port).body == "application")


def serving(configuration: str) -> list[str]:
    """Return a command that serves with a configuration of its own."""
    script = f'echo "daemon off; pid /tmp/p; error_log stderr; {configuration}" >/tmp/c && exec nginx -c /tmp/c'
    return ["sh", "-c", script]


def test_a_page_that_does_not_answer_right_does_not_stay(shop: Shop) -> None:
    """Without an earlier page nothing stays, with one that comes back."""
    for configuration, words in ((ANSWERS_200, "status 200 instead of 503"), ("nonsense", "unexpected end of file")):
        failed = shop.call(image=NGINX, command=serving(configuration), timeout=4)
        assert failed.failed
        assert words in failed["msg"]
        assert "Nothing of it is left" in failed["msg"]
        assert shop.pages() == []
        assert refuses(shop.port)
    failed = shop.call(image=NGINX, command=["no-such-program"])
    assert "no-such-program" in failed["msg"]
    assert shop.pages() == []

    marker = shop.call(text="the first")["marker"]
    failed = shop.call(image=NGINX, command=serving(ANSWERS_200), timeout=4)
    assert failed.failed
    assert "The earlier page is served again" in failed["msg"]
    until(lambda: ask(shop.port).headers["X-Maintenance-Page"] == marker)
    assert len(shop.pages()) == 1

    done = shop.call(image=NGINX, command=serving(ANSWERS_RIGHT))
    assert not done.failed
    assert ask(shop.port).headers["X-Maintenance-Page"] == done["marker"] != marker


def test_other_words_replace_the_page(shop: Shop) -> None:
    """Other words, and other ports: one page, the new one."""
    first = shop.call(text="the first")
    second = shop.call(text="the second")
    assert second["changed"]
    assert '-    "text": "the first"' in second.shown
    assert '+    "text": "the second"' in second.shown
    assert second["marker"] != first["marker"]
    assert "the second" in ask(shop.port).body
    other = free_port()
    third = shop.call(services=[], image=NGINX, ports=[{"port": other, "address": "127.0.0.1"}])
    assert not third.failed
    assert ask(other).status == 503
    assert refuses(shop.port)
    assert len(shop.pages()) == 1


def test_tls(shop: Shop, certificate: dict[str, str]) -> None:
    """A TLS port stays closed without a certificate, and is served with it."""
    plain = shop.call()
    assert plain["closed"] == [{"address": "127.0.0.1", "port": shop.tls_port, "tls": True}]
    assert "stays closed: no certificate" in flat(plain.progress)
    assert refuses(shop.tls_port)
    only = shop.call(services=[], image=NGINX, ports=[{"port": shop.tls_port, "tls": True}])
    assert only.failed
    assert "has no certificate" in only["msg"]
    assert ask(shop.port).status == 503  # the page that was there

    served = shop.call(**certificate)
    assert not served.failed
    assert served["closed"] == []
    assert sorted(one["url"].split(":")[0] for one in served["answers"]) == ["http", "https"]
    context = ssl.create_default_context(cafile=certificate["tls_certificate"])
    with socket.create_connection(("127.0.0.1", shop.tls_port), timeout=5) as raw, \
         context.wrap_socket(raw, server_hostname="shop.example") as client:  # fmt: skip
        client.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
    assert ask(shop.tls_port).status == 503  # plain HTTP at the TLS port
    (page,) = shop.pages()
    mounted = {mount["Source"]: mount["RW"] for mount in page["Mounts"] if mount["Type"] == "bind"}
    assert mounted == dict.fromkeys(certificate.values(), False)
    key = Path(certificate["tls_key"]).read_text()
    assert key.splitlines()[1] not in json.dumps(page) + json.dumps(served.result)
    assert not shop.call(**certificate)["changed"]


def test_refused_before_anything_changes(shop: Shop, certificate: dict[str, str], tmp_path: Path) -> None:
    """Wrong options are named with what is accepted."""
    for options, words in (
        ({"services": []}, "Neither services nor ports"),
        ({"services": ["proxy"]}, "no container of proxy"),
        ({"services": ["worker"]}, "Still running: worker"),
        ({"project": "usdx-it-none"}, "usdx-it-none"),
        ({"image": "usdx-it/no-such-image:1"}, "is not on this host"),
        ({"command": ["serve"]}, "command"),
        ({"services": [], "ports": [{"port": 8080}]}, "No container with nginx"),
        ({"ports": [{"port": 70000}]}, "70000"),
        ({"memory": 1}, "memory=1"),
        ({"timeout": 0}, "timeout"),
        ({"title": ""}, "title"),
        ({"tls_certificate": certificate["tls_certificate"]}, "tls_certificate and tls_key"),
        (certificate | {"tls_key": str(tmp_path / "none.key")}, "tls_key"),
        ({"docker_host": "tcp://127.0.0.1:9"}, "does not answer"),
    ):
        refused = shop.call(**options)
        assert refused.failed, options
        assert words in refused["msg"], options
        assert refused["next_step"]
    shop.stack.compose("stop", "--timeout", "1", "worker")
    silent = shop.call(services=["worker"])
    assert "publish none" in silent["msg"]
    Path(certificate["tls_key"]).chmod(0o666)
    assert "tls_key" in shop.call(**certificate)["msg"]
    assert shop.pages() == []


def test_what_comes_back_by_itself_is_named(shop: Shop) -> None:
    """A service with the policy 'always' comes back with the daemon, unless it was stopped with hold."""
    command("docker", "update", "--restart", "always", f"{shop.stack.project}-nginx-1")
    warned = shop.call(check=True)
    assert "restart policy 'always'" in flat(warned.progress)
    held = call_module("compose_stop", {"project": shop.stack.project, "groups": [["nginx"]], "hold": True})
    assert not held.failed
    assert "restart policy" not in flat(shop.call(check=True).progress)


def test_two_calls_at_once_serve_one_page(shop: Shop) -> None:
    """Both end well, and one container serves."""
    options = json.dumps({"project": shop.stack.project, "services": ["nginx"]})
    python = str(REPOSITORY / ".venv/bin/python")
    argv = [str(REPOSITORY / ".venv/bin/ansible"), "localhost", "-i", "localhost,", "-c", "local", "-e",
            f"ansible_python_interpreter={python}", "-m", "usdx.rollback.maintenance_page", "-a", options]  # fmt: skip
    environment = os.environ | {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}
    calls = [subprocess.Popen(argv, env=environment, cwd=REPOSITORY, stdout=subprocess.DEVNULL) for _count in range(2)]
    assert [call.wait(timeout=60) for call in calls] == [0, 0]
    assert len(shop.pages()) == 1
    assert ask(shop.port).status == 503
