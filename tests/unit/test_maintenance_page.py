# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maintenance page: its words, its ports, who holds a port, what makes an answer wrong, what is refused."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_check import Reply, wrong_at, wrong_with
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_container import Certificate, Page
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_content import (
    Words,
    checked_words,
    html_page,
    json_page,
    nginx_configuration,
)
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_ports import (
    Port,
    container_holders,
    container_id_of,
    given_ports,
    overlap,
    process_holders,
    published_ports,
)

EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - nothing is bound
WORDS = Words("Back soon", "We look at a problem.", "", 600, "en")
PAGE = Page("shop", WORDS, (Port("", 80, tls=False),), "sha256:1", "shop-nginx")


class Seen(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.texts.append(data)


# The words


@pytest.mark.parametrize("evil", ['<script>alert("x")</script>', "a & b <b>'c'</b>", '"><img src=x onerror=y>'])
def test_html_in_the_words_is_shown_and_not_used(evil: str) -> None:
    seen = Seen(html_page(replace(WORDS, title=evil, text=evil, contact=evil)))
    names = {name for name, _attributes in seen.elements}
    assert names == {"html", "head", "meta", "title", "style", "body", "main", "svg", "circle", "path", "h1", "p"}
    assert seen.texts.count(evil) == 4  # title, heading, text, contact


def test_the_page_loads_nothing() -> None:
    page = html_page(replace(WORDS, contact="https://status.example.com/?a=1&b=2"))
    seen = Seen(page)
    assert "url(" not in page
    assert "@import" not in page
    assert not {"script", "link", "img", "iframe"} & {name for name, _attributes in seen.elements}
    links = [attributes.get("href") for name, attributes in seen.elements if name == "a"]
    assert links == ["https://status.example.com/?a=1&b=2"]


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("ops@example.com", "mailto:ops@example.com"),
        ("http://status.example.com", "http://status.example.com"),
        ("javascript:alert(1)", None),
        ("Call 555 1234", None),
        ("https://a.example' onclick='x", None),
        ("ops@example.com?bcc=x@example.com", None),
    ],
)
def test_only_a_plain_address_or_link_can_be_clicked(contact: str, link: str | None) -> None:
    seen = Seen(html_page(replace(WORDS, contact=contact)))
    assert [attributes.get("href") for name, attributes in seen.elements if name == "a"] == ([link] if link else [])
    assert contact in seen.texts


def test_paragraphs() -> None:
    seen = Seen(html_page(replace(WORDS, text="one\nline\n\n\ntwo")))
    assert [text for text in seen.texts if text.strip()][-2:] == ["one\nline", "two"]


def test_json() -> None:
    told = json.loads(json_page(replace(WORDS, text='a "b" é', contact="c")))
    assert told == {
        "status": 503, "error": "maintenance", "title": "Back soon", "message": 'a "b" é', "contact": "c",
        "retry_after": 600,
    }  # fmt: skip
    assert "contact" not in json.loads(json_page(WORDS))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"title": "  "}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"title": "x" * 151}, "title"),
        ({"text": "x" * 2001}, "text"),
        ({"text": "a\x1b[31m"}, "text"),
        ({"contact": "a\nb"}, "contact"),
        ({"retry_after": 0}, "retry_after"),
        ({"retry_after": 604801}, "retry_after"),
        ({"language": "en; x"}, "language"),
    ],
)
def test_words_that_cannot_be_shown_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(RollbackError, match=named) as refused:
        checked_words(replace(WORDS, **change))
    assert "Nothing was changed" in refused.value.msg
    assert refused.value.next_step


def test_words_are_trimmed() -> None:
    assert checked_words(replace(WORDS, title=" Back soon ", text="a\r\nb\n")).text == "a\nb"


def test_no_word_of_the_user_is_in_the_configuration() -> None:
    """What nginx would take as a variable or a directive comes from files only."""
    evil = replace(WORDS, title="$host; return 200;", text="}} server { }", contact="$request_uri")
    assert nginx_configuration(evil, "m", tls=True, as_root=False) == nginx_configuration(
        WORDS, "m", tls=True, as_root=False
    )
    assert "ssl" not in nginx_configuration(WORDS, "m", tls=False, as_root=False)


def test_the_marker_changes_with_all_that_is_served() -> None:
    certificate = Certificate("/c.pem", "/k.pem", "0:0", "aa")
    pages = [
        PAGE,
        replace(PAGE, words=replace(WORDS, text="other")),
        replace(PAGE, words=replace(WORDS, retry_after=5)),
        replace(PAGE, ports=(Port("", 81, tls=False),)),
        replace(PAGE, image_id="sha256:2"),
        replace(PAGE, command=("serve",)),
        replace(PAGE, certificate=certificate),
        replace(PAGE, certificate=replace(certificate, digest="bb")),
    ]
    assert len({page.marker for page in pages}) == len(pages)
    assert replace(PAGE).marker == PAGE.marker
    assert (PAGE.user, pages[6].user) == ("65534:65534", "0:0")


# Ports


def test_ports_of_stopped_containers() -> None:
    bindings = {
        "80/tcp": [{"HostIp": "", "HostPort": "80"}, {"HostIp": "127.0.0.1", "HostPort": "8080"}],
        "443/tcp": [{"HostIp": "", "HostPort": "4430"}],
        "443/udp": [{"HostIp": "", "HostPort": "4430"}],
        "9000/tcp": [{"HostIp": "", "HostPort": ""}],
        "9100/tcp": [{"HostIp": "", "HostPort": "9100-9110"}],
        "9200/tcp": None,
        "9443/tcp": [{"HostIp": "::1", "HostPort": "9443"}],
    }
    ports, notes = published_ports([("shop-nginx-1", bindings), ("shop-nginx-2", bindings)], [9443])
    assert [str(port) for port in ports] == ["*:80", "*:4430", "127.0.0.1:8080", "[::1]:9443"]
    assert [port.tls for port in ports] == [False, True, False, True]
    assert len(notes) == 6
    assert "only TCP" in notes[0]
    assert "name it in ports" in notes[1]
    assert "shop-nginx-1" in notes[2]


def test_given_ports() -> None:
    assert given_ports([{"port": 80, "address": "", "tls": False}]) == [Port("", 80, tls=False)]
    both = given_ports([{"port": 443, "address": "", "tls": False}, {"port": 443, "address": "", "tls": True}])
    assert both == [Port("", 443, tls=True)]
    for wrong in ({"port": 0}, {"port": 65536}, {"port": 80, "address": "example.com"}, {"port": 80, "address": "1.2"}):
        with pytest.raises(RollbackError, match="Nothing was changed"):
            given_ports([wrong])


@pytest.mark.parametrize(
    ("address", "url"),
    [("", "http://127.0.0.1:80/"), (EVERY_IPV4, "http://127.0.0.1:80/"), ("::", "http://[::1]:80/"),
     ("10.0.0.7", "http://10.0.0.7:80/")],
)  # fmt: skip
def test_where_the_host_reaches_a_port(address: str, url: str) -> None:
    assert Port(address, 80, tls=False).url == url
    assert Port(address, 80, tls=True).url == url.replace("http", "https")


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [("", "127.0.0.1", True), (EVERY_IPV4, "127.0.0.1", True), (EVERY_IPV4, "::1", False), ("::", "127.0.0.1", True),
     ("127.0.0.1", "127.0.0.2", False), ("127.0.0.1", "127.0.0.1", True), ("::1", "::", True)],
)  # fmt: skip
def test_addresses_that_meet(one: str, other: str, meets: bool) -> None:  # noqa: FBT001
    assert {overlap(*pair) for pair in ((one, other), (other, one))} == {meets}


def test_containers_that_hold_a_port() -> None:
    listed: list[dict[str, Any]] = [
        {"Id": "a", "Names": ["/web"], "Ports": [{"IP": EVERY_IPV4, "PublicPort": 80, "Type": "tcp"}]},
        {"Id": "b", "Names": ["/udp"], "Ports": [{"IP": EVERY_IPV4, "PublicPort": 80, "Type": "udp"}]},
        {"Id": "c", "Names": ["/inside"], "Ports": [{"PrivatePort": 80, "Type": "tcp"}]},
        {"Id": "d", "Names": ["/other"], "Ports": [{"IP": "127.0.0.1", "PublicPort": 8080, "Type": "tcp"}]},
        {"Id": "e", "Names": ["/none"], "Ports": None},
    ]
    ports = [Port("127.0.0.1", 80, tls=False), Port("", 8080, tls=False), Port("127.0.0.2", 8080, tls=False)]
    assert container_holders(listed, ports, set()) == {ports[0]: ["web"], ports[1]: ["other"]}
    assert container_holders(listed, ports, {"a", "d"}) == {}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_process_that_listens_is_found(address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.bind((address, 0))
        number = listener.getsockname()[1]
        assert process_holders([Port(address, number, tls=False)]) == {}  # bound, and does not listen
        listener.listen()
        found = process_holders([Port(address, number, tls=False), Port("", number, tls=False)])
        assert list(found.values()) == [[os.getpid()], [os.getpid()]]
        assert process_holders([Port("127.0.0.9", number, tls=False)]) == {}
    assert process_holders([Port(address, number, tls=False)]) == {}


def test_a_host_without_proc_holds_nothing(tmp_path: Path) -> None:
    assert process_holders([Port("", 80, tls=False)], tmp_path) == {}
    assert container_id_of(1, tmp_path) is None


def test_the_container_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(f"0::/system.slice/docker-{'ab' * 32}.scope\n")
    assert container_id_of(7, tmp_path) == "ab" * 32


# The answer

GOOD = {"retry-after": "600", "cache-control": "no-store", "x-maintenance-page": "m"}


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        (Reply(503, GOOD), ""),
        (Reply(200, GOOD), "status 200"),
        (Reply(502, {}), "status 502"),
        (Reply(503, {}), "something else"),
        (Reply(503, GOOD | {"x-maintenance-page": "other"}), "something else"),
        (Reply(503, GOOD | {"retry-after": ""}), "Retry-After"),
        (Reply(503, GOOD | {"retry-after": "soon"}), "Retry-After"),
        (Reply(503, GOOD | {"cache-control": "max-age=60"}), "no-store"),
    ],
)
def test_what_is_wrong_with_an_answer(reply: Reply, wrong: str) -> None:
    found = wrong_with(reply, "m")
    assert wrong in found
    assert bool(found) is bool(wrong)


def test_a_port_that_does_not_answer() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = Port("127.0.0.1", listener.getsockname()[1], tls=False)
        assert "connection refused" in wrong_at(port, "m", 2)
        listener.listen()
        assert "no" in wrong_at(port, "m", 0.3)
        assert wrong_at(replace(port, tls=True), "m", 0.3)
