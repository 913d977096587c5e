# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions over the network: what comes back when the other side misbehaves, and from where is asked."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis import places, wire
from receivers import dripping_receiver, hanging_receiver, http_receiver, own_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = "127.0.0.1"


@contextmanager
def talker(says: bytes) -> Iterator[int]:
    """Give the port of a server that says the same to everybody, and closes."""
    with socket.create_server((HERE, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(1)
                    connection.recv(4096)
                    connection.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def asked(kind: str, port: int, **more: Any) -> dict[str, Any]:
    question = {"kind": kind, "host": HERE, "port": port, "timeout": 1.0, "user": "u", "database": "d", **more}
    return wire.ask_all([question])[0]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("kind", ["tcp", "redis", "postgres", "tls"])
def test_nobody_listens(kind: str) -> None:
    assert asked(kind, free_port())["fault"] == "refused"


@pytest.mark.parametrize("kind", ["redis", "postgres", "tls", "http"])
def test_what_never_answers_ends_in_time(kind: str) -> None:
    with hanging_receiver() as port:
        answer = asked(kind, port, url=f"http://{HERE}:{port}/")
    assert answer["fault"] == "timeout"
    assert answer["seconds"] < 2


def test_headers_that_drip_end_in_time() -> None:
    with dripping_receiver() as port:
        answer = asked("http", port, url=f"http://{HERE}:{port}/")
    assert answer["fault"] == "timeout"


@pytest.mark.parametrize("kind", ["redis", "postgres"])
@pytest.mark.parametrize(
    "says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 9, b"R\xff\xff\xff\xff", b"$999999999\r\n"]
)
def test_another_language_is_named(kind: str, says: bytes) -> None:
    with talker(says) as port:
        assert asked(kind, port)["fault"] == "protocol"


@pytest.mark.parametrize("kind", ["redis", "postgres", "http"])
def test_a_connection_that_breaks_off(kind: str) -> None:
    with talker(b"") as port:
        assert asked(kind, port, url=f"http://{HERE}:{port}/")["fault"] in ("broken", "protocol")


def test_postgres_refuses_with_its_code() -> None:
    fields = b"SFATAL\0VFATAL\0C53300\0Mzu viele Clients\0\0"
    with talker(b"E" + struct.pack("!I", len(fields) + 4) + fields) as port:
        answer = asked("postgres", port)
    assert (answer["accepts"], answer["sqlstate"], answer["message"]) == (False, "53300", "zu viele Clients")


def test_http_gives_status_and_body_and_keeps_the_login_out_of_the_way() -> None:
    with http_receiver(lambda _request: (503, {"up": False})) as server:
        answer = asked("http", server.port, url=f"http://ann:s3cr3t@{HERE}:{server.port}/health?full=1")
    assert (answer["status"], answer["body"], answer["whole"]) == (503, '{"up": false}', True)
    assert server.requests[0].path == "/health?full=1"
    assert server.requests[0].headers["Authorization"].startswith("Basic ")
    assert server.requests[0].headers["Host"] == f"{HERE}:{server.port}"


def test_a_certificate_tells_its_end_and_one_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    with http_receiver(certificate=own_certificate(tmp_path, 3)) as server:
        trusted = asked("tls", server.port, validate_certs=False)
        refused = asked("tls", server.port)
    assert trusted["not_after"][-1] == "Z"
    assert trusted["fault"] == ""
    assert (refused["fault"], "certificate is not accepted" in refused["why"]) == ("tls", True)


def test_the_end_of_a_certificate() -> None:
    utc, general = b"\x17\x0d240101000000Z", b"\x18\x0f20510203040506Z"
    assert wire.end_of(b"head" + utc + b"\x17\x0d491231235959Z") == "2049-12-31T23:59:59Z"
    assert wire.end_of(b"head" + utc + general) == "2051-02-03T04:05:06Z"
    assert wire.end_of(b"nothing") == ""


# --- names ------------------------------------------------------------------------------------------------------------


def dns_answer(code: int = 0, *records: bytes) -> bytes:
    head = struct.pack("!HHHHHH", 7, 0x8180 | code, 1, len(records), 0, 0)
    question = b"\x03web\x07example\x00" + struct.pack("!HH", 1, 1)
    return head + question + b"".join(b"\xc0\x0c" + record for record in records)


def test_addresses_in_an_answer() -> None:
    a = struct.pack("!HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 7])
    alias = struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
    assert wire.dns_addresses("web.example", "A", "9.9.9.9", dns_answer(0, alias, a)) == ["192.0.2.7"]


@pytest.mark.parametrize(("code", "fault"), [(3, "name"), (2, "resolver"), (5, "resolver"), (9, "resolver")])
def test_a_name_server_that_knows_no_answer(code: int, fault: str) -> None:
    with pytest.raises(wire.Fault) as caught:
        wire.dns_addresses("web.example", "A", "9.9.9.9", dns_answer(code))
    assert caught.value.fault == fault


def test_an_answer_that_is_cut_off() -> None:
    with pytest.raises(wire.Fault) as caught:
        wire.dns_addresses("web.example", "A", "9.9.9.9", dns_answer(0, b"\x00\x01")[:-1])
    assert caught.value.fault == "resolver"


def resolver(**more: Any) -> dict[str, Any]:
    return {"nameservers": ["127.0.0.1"], "search": [], "ndots": 1, "hosts": {}, **more}


def looked_up(name: str, names: dict[str, Any]) -> list[str]:
    return wire.addresses(name, names, wire.Deadline(3))


def test_names_of_the_hosts_file_and_addresses_need_no_server() -> None:
    assert looked_up("DB", resolver(hosts={"db": ["10.0.0.2"]}, nameservers=[])) == ["10.0.0.2"]
    assert looked_up("192.0.2.9", resolver(nameservers=[])) == ["192.0.2.9"]


@pytest.mark.parametrize(
    ("name", "ndots", "asked_for"),
    [
        ("db", 1, ["db.corp.example", "db"]),
        ("db.corp", 1, ["db.corp", "db.corp.corp.example"]),
        ("db", 0, ["db", "db.corp.example"]),
        ("db.", 1, ["db"]),
    ],
)
def test_search_domains(monkeypatch: pytest.MonkeyPatch, name: str, ndots: int, asked_for: list[str]) -> None:
    seen: list[str] = []

    def refuse(whole: str, *_more: Any) -> list[str]:
        seen.append(whole)
        raise wire.Fault("name", "no such name")

    monkeypatch.setattr(wire, "_asked_of_servers", refuse)
    with pytest.raises(wire.Fault):
        looked_up(name, resolver(search=["corp.example"], ndots=ndots))
    assert seen == asked_for


def test_a_name_server_that_is_not_there() -> None:
    with pytest.raises(wire.Fault) as caught:
        looked_up("db", resolver())
    assert caught.value.fault == "resolver"
    assert "127.0.0.1" in caught.value.why
    with pytest.raises(wire.Fault):
        looked_up("db", resolver(nameservers=[]))


@pytest.mark.parametrize("name", ["a" * 70, "a..b", "\udcff"])
def test_a_name_that_is_none(name: str) -> None:
    assert wire.ask({"kind": "dns", "host": name, "port": 0, "timeout": 1, "resolver": resolver()})["fault"] == "name"


# --- places -----------------------------------------------------------------------------------------------------------


def test_the_files_of_a_container() -> None:
    conf = "# Docker\nnameserver 127.0.0.11\nnameserver fe80::1%eth0\nsearch corp.example.\noptions ndots:0 edns0\n"
    hosts = "127.0.0.1 localhost\n172.20.0.2\tweb WEB.example # own\n\n"
    assert places.resolver_of(conf, hosts) == {
        "nameservers": ["127.0.0.11", "fe80::1"],
        "search": ["corp.example"],
        "ndots": 0,
        "hosts": {"localhost": ["127.0.0.1"], "web": ["172.20.0.2"], "web.example": ["172.20.0.2"]},
    }
    assert places.resolver_of("", "")["ndots"] == 1


def test_questions_are_answered_by_a_python_of_their_own() -> None:
    with http_receiver() as server:
        answers = places.ask(
            places.ON_HOST,
            [
                {"kind": "tcp", "host": HERE, "port": server.port, "timeout": 3},
                {"kind": "tcp", "host": HERE, "port": free_port(), "timeout": 3},
            ],
        )
    assert [one["fault"] for one in answers] == ["", "refused"]


def test_a_place_that_does_not_work_says_nothing_of_what_was_asked() -> None:
    broken = places.Place("webapp", ("false",))
    (answer,) = places.ask(broken, [{"kind": "tcp", "host": HERE, "port": 1, "timeout": 1}])
    assert answer["fault"] == "place"
    assert places.ask(places.Place("webapp", ("no-such-command",)), []) == []


def test_why_the_network_of_a_container_cannot_be_entered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "does not run" in places.network_of("web", "ab" * 32, 0).why
    monkeypatch.setattr(places.os, "geteuid", lambda: 1000)
    assert "only root" in places.network_of("web", "ab" * 32, 7).why
    monkeypatch.setattr(places.os, "geteuid", lambda: 0)
    monkeypatch.setattr(places.shutil, "which", lambda _name: None)
    assert "nsenter is missing" in places.network_of("web", "ab" * 32, 7).why
    monkeypatch.setattr(places.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "not seen from here" in places.network_of("web", "ab" * 32, 7, tmp_path).why
    (tmp_path / "7").mkdir()
    (tmp_path / "7/mountinfo").write_text(f"1 2 0:3 /{'ab' * 32}/hosts /etc/hosts rw - ext4 /dev/x rw\n")
    assert "cannot be read" in places.network_of("web", "ab" * 32, 7, tmp_path).why
    (tmp_path / "7/root/etc").mkdir(parents=True)
    for name in ("resolv.conf", "hosts"):
        (tmp_path / "7/root/etc" / name).write_text("")
    found = places.network_of("web", "ab" * 32, 7, tmp_path)
    assert (found.why, found.prefix) == ("", ("/usr/bin/nsenter", f"--net={tmp_path}/7/ns/net", "--"))
