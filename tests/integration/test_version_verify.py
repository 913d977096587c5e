# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The release that answers: real HTTP servers, a real Git repository and real containers, asked through Ansible."""

from __future__ import annotations

import json
import shutil
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from harness import BASE_IMAGE, Outcome, call_module, command, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROJECT = "usdx-it-vv-app"


class Server:
    """An HTTP server whose answers a test decides, path by path; it remembers the headers of what it was asked."""

    def __init__(self, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        """Listen on a port of 127.0.0.1."""
        server = self
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.ended = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.path, dict(self.headers)))
                server.answers[self.path](self)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        if context:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_port
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def says(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        """Answer a path with a body; return its URL."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

        self.answers[path] = answer
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        """Stop listening."""
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def health(version: str) -> bytes:
    """Return the body of a health endpoint."""
    return json.dumps({"version": version}).encode()


def verify(*endpoints: dict[str, Any], check: bool = False, **options: Any) -> Outcome:
    """Ask for v1.0.2, once unless told otherwise."""
    asked = [{"version_query": "version", "timeout": 1} | endpoint for endpoint in endpoints]
    return call_module(
        "version_verify",
        {"version": "v1.0.2", "timeout": 0, "interval": 0.1, "endpoints": asked} | options,
        check=check,
    )


def verdicts(outcome: Outcome) -> list[str]:
    """Return the verdict of each check, in order."""
    return [check["verdict"] for check in outcome["checks"]]


@pytest.mark.parametrize("check", [True, False])
def test_the_right_release_passes_and_check_mode_is_the_same(server: Server, *, check: bool) -> None:
    """1.0.2 is v1.0.2; credentials and headers reach the server and are not shown."""
    url = server.says("/health", health("1.0.2")).replace("//", "//me:s3cret-word@")
    outcome = verify({"url": url, "headers": {"X-Token": "t0ken-word"}}, check=check, timeout=5, stable_for=0.5)
    assert not outcome.failed, outcome.result
    assert (outcome["changed"], outcome["verdict"], outcome["release_asked"]) == (False, "passed", True)
    assert outcome["stable_seconds"] >= 0.5
    assert outcome["attempts"] == outcome["checks"][0]["attempts"] == len(server.asked) > 1
    assert server.asked[0][1]["X-Token"] == "t0ken-word"
    assert "s3cret-word" not in str(outcome.result)
    assert "t0ken-word" not in str(outcome.result)


def test_every_bad_answer_is_survived_and_named(server: Server) -> None:
    """Side by side, in one round, in little more than the limit of one answer."""

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        while not server.ended.wait(0.1):
            request.wfile.write(b"x")

    def flood(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b'HTTP/1.0 200 OK\r\n\r\n{"version": "v1.0.2", "x": "')
        while not server.ended.is_set():
            request.wfile.write(b"x" * 65536)

    server.answers |= {"/drip": drip, "/flood": flood, "/garbage": lambda request: request.wfile.write(b"\0\xff" * 99)}
    server.answers["/silent"] = lambda _request: server.ended.wait(30) and None
    root = f"http://127.0.0.1:{server.port}"
    server.says("/away", b"", 302, Location="file:///etc/passwd")
    server.says("/loop", b"", 302, Location="/loop")
    cases = {
        server.says("/wrong", health("v1.0.3")): ("failed", "version v1.0.3"),
        server.says("/error", health("v1.0.2"), 500): ("failed", "status 500"),
        server.says("/html", b"<html>"): ("inconclusive", "no JSON"),
        server.says("/none", b"{}"): ("inconclusive", "finds no version"),
        f"{root}/flood": ("inconclusive", "larger than"),
        f"{root}/drip": ("failed", "no "),
        f"{root}/silent": ("failed", "no "),
        f"{root}/garbage": ("failed", "BadStatusLine"),
        f"{root}/loop": ("failed", "redirects"),
        f"{root}/away": ("failed", "no http"),
        f"http://127.0.0.1:{free_port()}/": ("failed", "refused"),
        "http://no-such-host.invalid/": ("failed", ""),
    }
    outcome = verify(*({"url": url, "timeout": 5} for url in cases))
    assert outcome.failed
    assert outcome["verdict"] == "failed"
    for check, (verdict, words) in zip(outcome["checks"], cases.values(), strict=True):
        assert (check["verdict"], words in check["seen"]) == (verdict, True), str(check)
        assert check["name"] in outcome["msg"]
    assert outcome["seconds"] < 10, "two of them never answer, and are not waited for one after the other"
    assert "of 0 seconds" in outcome["msg"]


def test_a_redirect_is_followed_but_headers_stay_with_their_host(server: Server) -> None:
    """A token for one host is not told to another, and a redirect that is expected is the answer."""
    other = Server()
    try:
        url = server.says("/old", b"", 302, Location=other.says("/health", health("v1.0.2")))
        outcome = verify(
            {"url": url, "headers": {"X-Token": "t0ken-word"}}, {"url": url, "status": [302], "version_query": ""}
        )
        assert not outcome.failed, outcome.result
        assert len(other.asked) == 1
        assert "X-Token" not in other.asked[0][1]
    finally:
        other.close()


def test_it_waits_for_a_server_that_starts_late() -> None:
    """The port refuses first; what counts is the answer before the deadline."""
    port, servers = free_port(), []

    def start() -> None:
        server = Server(port)
        server.says("/health", health("v1.0.2"))
        servers.append(server)

    timer = threading.Timer(3, start)
    timer.start()
    try:
        outcome = verify({"url": f"http://127.0.0.1:{port}/health"}, timeout=30)
        assert not outcome.failed, outcome.result
        assert outcome["attempts"] > 1 or outcome["seconds"] < 1
    finally:
        timer.join()
        servers[0].close()


def test_a_flaky_server_is_not_stable(server: Server) -> None:
    """Every third answer is an error: each passes soon, none stays for long enough."""
    url = server.says("/health", health("v1.0.2"))
    good, count = server.answers["/health"], iter(range(100_000))
    server.says("/bad", b"", 500)
    bad = server.answers["/bad"]
    server.answers["/health"] = lambda request: bad(request) if next(count) % 3 == 2 else good(request)
    assert not verify({"url": url}, timeout=10).failed
    outcome = verify({"url": url}, timeout=2.5, stable_for=2)
    assert outcome.failed
    assert outcome["breaks"] > 1
    assert outcome["verdict"] == "failed"


def at_times(server: Server, path: str, every: int, bad: Callable[[BaseHTTPRequestHandler], None]) -> None:
    """Let every so manyth answer of a path be another one."""
    good, count = server.answers[path], iter(range(1, 100_000))
    server.answers[path] = lambda request: good(request) if next(count) % every else bad(request)


def test_one_of_15_requests_that_fails_is_found_and_counted(server: Server) -> None:
    """The waiting alone does not see it; the sample is taken once, so it is not asked away."""
    url = server.says("/health", health("v1.0.2"))
    server.says("/bad", b"", 500)
    at_times(server, "/health", 15, server.answers["/bad"])
    assert not verify({"url": url}, timeout=5).failed
    outcome = verify({"url": url, "timeout": 9}, {"url": url, "requests": 0}, requests=30, timeout=20)
    assert outcome.failed
    assert [(check["kind"], check["verdict"]) for check in outcome["checks"]] == [
        ("endpoint", "passed"), ("endpoint", "passed"), ("requests", "failed"),
    ]  # fmt: skip
    sample = outcome["checks"][2]
    assert (sample["requests"], sample["failed"], sample["decides"]) == (30, 2, True)
    assert (sample["limit"], "2 failed (2 x status 500)" in outcome["msg"]) == (sample["expected"], True)
    assert not verify({"url": url, "timeout": 9}, requests=30, max_failed=0.1, timeout=20).failed


def test_a_slow_release_and_one_that_is_mixed_are_found(server: Server) -> None:
    """Each answer alone is good enough for the waiting; a sample that takes too long is decided by what it has."""
    slow = server.says("/slow", health("v1.0.2"))
    mixed, quick = server.says("/mixed", health("v1.0.2")), server.says("/quick", health("v1.0.2"))
    server.says("/old", health("v1.0.3"))
    at_times(server, "/mixed", 3, server.answers["/old"])
    answer = server.answers["/slow"]
    server.answers["/slow"] = lambda request: None if server.ended.wait(0.4) else answer(request)
    outcome = verify(
        {"url": slow, "timeout": 9, "p95": 350},
        {"url": mixed, "timeout": 9},
        {"url": quick, "timeout": 9},
        requests=20,
        requests_timeout=5,
        timeout=20,
    )
    assert outcome.failed
    assert [check["verdict"] for check in outcome["checks"]] == ["passed"] * 3 + ["failed", "failed", "passed"]
    assert "only " in outcome["checks"][3]["seen"]
    assert outcome["checks"][3]["p95_ms"] > 400
    assert "x version v1.0.3" in outcome["checks"][4]["seen"]
    assert outcome["seconds"] < 20


def test_no_sample_is_made_of_what_does_not_answer(server: Server) -> None:
    """It says that it was not asked, and is not passed."""
    url = server.says("/health", health("v1.0.3"))
    outcome = verify({"url": url}, requests=20)
    assert verdicts(outcome) == ["failed", "inconclusive"]
    assert (outcome["checks"][1]["attempts"], len(server.asked)) == (0, 1)
    assert "requests" not in outcome["msg"]


def test_a_self_made_certificate_counts_only_when_told_so(tmp_path: Path) -> None:
    """By default it is no proof of who answers."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2",
            "-keyout", key, "-out", certificate)  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(context=context)
    try:
        url = server.says("/health", health("v1.0.2")).replace("http:", "https:")
        outcome = verify({"url": url}, {"url": url, "validate_certs": False})
        assert verdicts(outcome) == ["failed", "passed"]
        assert "CERTIFICATE" in outcome["checks"][0]["seen"].upper()
    finally:
        server.close()


def test_without_a_question_for_the_release_it_warns(server: Server) -> None:
    """A status alone proves no release; a query that is wrong is refused before the first request."""
    url = server.says("/", b"welcome")
    outcome = verify({"url": url, "version_query": "", "contains": "welcome"})
    assert (outcome.failed, outcome["release_asked"]) == (False, False)
    count = len(server.asked)
    assert verify({"url": url}, {"url": url, "version_query": "a["}).failed
    assert len(server.asked) == count


def test_the_checkout_must_be_of_the_release(tmp_path: Path) -> None:
    """Tag, commit and package.json of a real repository that belongs to another user; wrong ones are not waited for."""
    git = ("git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "safe.directory=*")
    command("git", "init", "-q", str(tmp_path))
    (tmp_path / "package.json").write_text('{"version": "1.0.2"}')
    command(*git, "add", ".")
    command(*git, "commit", "-qm", "one")
    command(*git, "tag", "v1.0.2")
    head = command(*git, "rev-parse", "HEAD").strip()
    shutil.chown(tmp_path, 65534, 65534)
    shutil.chown(tmp_path / ".git", 65534, 65534)
    passed = verify(path=str(tmp_path), commit=head[:12])
    assert not passed.failed, passed.result
    assert [check["kind"] for check in passed["checks"]] == ["tag", "commit", "package_json"]
    (tmp_path / "package.json").write_text('{"version": "1.0.3"}')
    command(*git, "commit", "-qam", "two")
    started = time.monotonic()
    failed = verify(path=str(tmp_path), commit=head, timeout=60)
    assert verdicts(failed) == ["failed", "failed", "failed"]
    assert failed["attempts"] == 1
    assert time.monotonic() - started < 30
    assert verdicts(verify(path=str(tmp_path / ".git" / "refs"), package_json="")) != ["passed"]


@pytest.fixture(name="containers")
def _containers() -> Iterator[Callable[..., str]]:
    """Return what starts a container of a service; afterwards all of them are removed."""

    def remove() -> None:
        label = f"label=com.docker.compose.project={PROJECT}"
        for container in command("docker", "ps", "-aq", "--filter", label).split():
            command("docker", "rm", "-f", container)

    def start(service: str, *options: str, runs: str = "exec sleep 600", image: str = BASE_IMAGE) -> str:
        labels = [
            "--label",
            f"com.docker.compose.project={PROJECT}",
            "--label",
            f"com.docker.compose.service={service}",
        ]
        return command("docker", "run", "-d", "--init", *labels, *options, image, "sh", "-c", runs).strip()

    remove()
    yield start
    remove()


def test_containers_must_run_the_image_and_be_healthy(containers: Callable[..., str]) -> None:
    """Healthy after a while is waited for; another image, a stopped and an absent service fail."""
    image = command("docker", "image", "inspect", "--format", "{{.Id}}", BASE_IMAGE).strip()
    fast = ("--health-interval", "0.3s", "--health-cmd")
    containers("web", *fast, "true", "--label", "release=1.0.2")
    containers("web", "--label", "com.docker.compose.oneoff=True", *fast, "false")
    passed = verify(project=PROJECT, images={"web": image}, services=["web"], version_label="release", timeout=30)
    assert not passed.failed, passed.result
    assert "(healthy)" in passed["checks"][1]["seen"]
    containers("ill", *fast, "false", "--health-retries", "1")
    command("docker", "stop", "-t", "0", containers("gone"))
    other = {"web": "sha256:" + "0" * 64, "absent": image, "gone": image}
    failed = verify(project=PROJECT, images=other, services=["ill", "gone", "absent", "web"])
    assert verdicts(failed) == ["failed"] * 6 + ["passed"]
    assert failed["checks"][1]["seen"] == "no container"
    containers("web", "--label", "release=v1.0.3")
    mixed = verify(project=PROJECT, images={"web": image}, version_label="release")
    assert (mixed.failed, "labelled v1.0.3" in mixed["msg"]) == (True, True)


def test_one_service_that_still_runs_the_other_image_is_named(containers: Callable[..., str]) -> None:
    """All are healthy, and one of them is of v1.0.3."""
    good = command("docker", "image", "inspect", "--format", "{{.Id}}", BASE_IMAGE).strip()
    other = command("docker", "commit", "--change", "LABEL release=v1.0.3", containers("made")).strip()
    try:
        for service, image in (("web", BASE_IMAGE), ("indexer", other)):
            containers(service, "--health-interval", "0.3s", "--health-cmd", "true", image=image)
        services = ["web", "indexer"]
        assert not verify(project=PROJECT, services=services, timeout=30).failed
        outcome = verify(project=PROJECT, services=services, images=dict.fromkeys(services, good), timeout=1)
        assert verdicts(outcome) == ["passed", "failed", "passed", "passed"]
        assert f"image indexer failed: expected runs {good}, saw " in outcome["msg"]
        assert other in outcome["msg"]
    finally:
        for container in command("docker", "ps", "-aq", "--filter", f"ancestor={other}").split():
            command("docker", "rm", "-f", container)
        command("docker", "rmi", other)


def test_error_lines_of_logs_are_found(containers: Callable[..., str]) -> None:
    """Garbage, a line of a megabyte, 100 000 lines, a terminal. What was logged before the last start is not read."""
    log = "echo ready; exec sleep 600"
    containers("calm", runs=log)
    containers("loud", runs=f"echo 'ERROR: pools token=s3cret-word' >&2; echo known error; {log}")
    containers("tty", "-t", runs=f"printf '\\033[31mfatal\\033[0m: no\\n'; {log}")
    garbage = "head -c 100000 /dev/urandom; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo panic: torn"
    containers("huge", runs=f"{garbage}; seq 100000 | sed 's/^/line /'; {log}")
    again = containers("again", runs="test -e /begun || echo error: long ago; touch /begun; exec sleep 600")
    command("docker", "restart", "-t", "0", again)
    containers("mute", "--log-driver", "none", runs=log)
    names = ["calm", "loud", "tty", "huge", "again", "mute"]
    until(lambda: all("ready" in logged(name) for name in ("loud", "tty", "huge")) and "ERROR" in logged("loud"))
    logs = {"services": names, "noise": ["known error"]}
    shown = verify(project=PROJECT, services=names, logs=logs, timeout=5)
    assert not shown.failed, shown.result
    rows = {check["name"]: check for check in shown["checks"] if check["kind"] == "log"}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "calm": "passed", "loud": "inconclusive", "tty": "inconclusive", "huge": "inconclusive", "again": "passed",
        "mute": "inconclusive",
    }  # fmt: skip
    assert "ERROR: pools token=" in rows["loud"]["seen"]
    assert "s3cret-word" not in str(shown.result)
    assert rows["huge"]["lines"] > 100_000
    assert "panic: torn" in rows["huge"]["seen"]
    assert "could not be read" in rows["mute"]["seen"]
    assert all(rows[name]["seen"].isprintable() and not rows[name]["decides"] for name in names)
    limited = verify(project=PROJECT, services=["loud", "calm"], logs=logs | {"services": ["loud", "calm"], "limit": 0})
    assert (limited.failed, verdicts(limited)) == (True, ["passed", "passed", "failed", "passed"])
    assert "log loud failed: expected at most 0 lines" in limited["msg"]
    assert not verify(project=PROJECT, services=["loud"], logs=logs | {"services": ["loud"], "limit": 1}).failed
    absent = verify(project=PROJECT, services=["calm"], logs={"services": ["nobody"], "limit": 0})
    assert verdicts(absent) == ["passed", "inconclusive"]


def logged(service: str) -> str:
    """Return the last lines of the log of a service; Docker may swap those of its two streams."""
    labels = [f"label=com.docker.compose.{key}={value}" for key, value in (("project", PROJECT), ("service", service))]
    container = command("docker", "ps", "-q", "--filter", labels[0], "--filter", labels[1]).strip()
    return command("docker", "logs", "--tail", "3", container)


def until(good: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.1)


def test_a_docker_daemon_that_does_not_answer_is_named() -> None:
    """Nothing is claimed then."""
    outcome = verify(project=PROJECT, services=["web"], docker_host="unix:///nowhere.sock")
    assert outcome.failed
    assert "does not answer" in outcome["msg"]
