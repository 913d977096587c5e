# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An incident on each status page, from investigating to resolved; and pages that are dead, angry or not ours."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import status_page as module
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from harness import free_port
from receivers import http_receiver
from status_services import TOKEN, Service

KEY = "20261124T160728Z-960a"


def options(provider: str, port: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "provider": provider,
        "api_url": f"http://127.0.0.1:{port}" if port else "",
        "api_version": "3",
        "page": "page1",
        "token": TOKEN,
        "path": "",
        "state": "investigating",
        "title": "Emergency rollback",
        "body": "Performing emergency rollback",
        "incident_key": KEY,
        "components": ["webapp"],
        "validate_certs": True,
        "timeout": 5,
        "on_failure": "warn",
        **changes,
    }


def page(options: dict[str, Any], *, check: bool = False, **changes: Any) -> dict[str, Any]:
    return module.status_page({**options, **changes}, check=check)


@pytest.mark.parametrize(
    ("provider", "version", "components"),
    [
        ("statuspage", "3", ("partial_outage", "operational")),
        ("instatus", "3", ("PARTIALOUTAGE", "OPERATIONAL")),
        ("cachet", "2", (3, 1)),
        ("cachet", "3", (3, 1)),
    ],
)
def test_an_incident_goes_its_way(provider: str, version: str, components: tuple[Any, Any]) -> None:
    """Check, real, check, real; each state once; another run's incident is not touched; resolved twice is no error."""
    service = Service(provider, version)
    service._open("Emergency rollback [20260101T000000Z-0001]", "investigating", "of another run")
    with http_receiver(service.answer) as server:
        asked = options(provider, server.port, api_version=version)
        predicted = page(asked, check=True)
        assert (predicted["changed"], predicted["delivered"], len(service.incidents)) == (True, False, 1)
        opened = page(asked)
        assert (opened["changed"], opened["delivered"], opened["why"]) == (True, True, "")
        assert opened["incident_id"] == "2"
        assert service.components["webapp"] == components[0]
        for check in (True, False):
            again = page(asked, check=check)
            assert (again["changed"], again["delivered"], again["incident_id"]) == (False, True, "2")
        held = {"state": "identified", "body": "We go on by hand"}
        for step in ({"state": "identified"}, held, {"state": "monitoring"}, {"state": "resolved"}):
            assert page(asked | step)["changed"] is True
        gone = page(asked | {"state": "resolved"})
        assert (gone["changed"], gone["delivered"], gone["incident_id"]) == (False, True, "")
    ours, other = service.incidents
    assert ours["name"] == f"Emergency rollback [{KEY}]"
    assert [state for state, _message in ours["updates"]] == [
        "investigating", "identified", "identified", "monitoring", "resolved",
    ]  # fmt: skip
    assert ours["state"] == "resolved"
    assert len(other["updates"]) == 1
    assert service.components["webapp"] == components[1]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((500, {"token": TOKEN}), "GET was answered with status 500"),
        ((302, {}), "GET was answered with status 302"),
        ((200, {"data": [{"x": 1}]}), "the answer has not the documented shape"),
        ((200, "x"), "the answer has not the documented shape"),
    ],
)
@pytest.mark.parametrize("provider", ["statuspage", "instatus", "cachet"])
def test_an_answer_that_is_no_good_is_told_and_does_not_fail(provider: str, answer: tuple[int, Any], why: str) -> None:
    with http_receiver(lambda _request: answer) as server:
        result = page(options(provider, server.port))
    assert (result["changed"], result["delivered"], result["why"]) == (False, False, why)
    assert len(result["warnings"]) == 1
    assert TOKEN not in str(result)


@pytest.mark.parametrize("provider", ["statuspage", "instatus", "cachet"])
def test_a_wrong_token_and_a_closed_port_are_told(provider: str) -> None:
    with http_receiver(Service(provider).answer) as server:
        wrong = page(options(provider, server.port, token=TOKEN[1:]))
    assert wrong["why"] == "GET was answered with status 401"
    assert page(options(provider, free_port()))["why"] == "connection refused"
    with pytest.raises(RollbackError) as stopped:
        page(options(provider, free_port(), on_failure="stop"))
    assert stopped.value.facts["delivered"] is False


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Keep a tag and the names of its attributes."""
        self.tags += [tag, *[f"{tag} {name}" for name, _value in attrs]]

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.words += data


def test_the_file_is_a_page_that_needs_nothing_else_and_shows_markup_as_text(tmp_path: Path) -> None:
    asked = options("file", path=str(tmp_path), page="Shop <b>", body="<script>alert(1)</script> & 'more'")
    assert page(asked, check=True)["changed"]
    assert list(tmp_path.iterdir()) == []
    assert page(asked)["changed"]
    assert not page(asked)["changed"]
    shown = Page((tmp_path / "index.html").read_text())
    assert not {"script", "b", "link", "img"} & set(shown.tags)
    assert "<script>alert(1)</script> & 'more'" in shown.words
    assert "Investigating" in shown.words
    assert "Affected: webapp" in shown.words
    page(asked, state="resolved", body="Services restored to v1.0.2")
    told = json.loads((tmp_path / "status.json").read_text())
    assert [one["state"] for one in told["incidents"][0]["updates"]] == ["resolved", "investigating"]
    assert "All services work" in Page((tmp_path / "index.html").read_text()).words
    assert page(asked, state="resolved")["delivered"]


@pytest.mark.parametrize("content", ["mine", "[]", '{"incidents": [{"id": 1}]}'])
def test_a_file_that_is_not_ours_is_left(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_text(content)
    result = page(options("file", path=str(tmp_path)))
    assert (result["delivered"], result["why"]) == (False, "status.json holds no incidents; it is left as it is")
    assert (tmp_path / "status.json").read_text() == content


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "www").write_text("a file")
    assert "cannot be" in page(options("file", path=str(tmp_path / "www")))["why"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": ""}, "token=None"),
        ({"page": "../x"}, "page='../x'"),
        ({"api_url": "ftp://x"}, "api_url='ftp://x'"),
        ({"incident_key": "a]b"}, "incident_key='a]b'"),
        ({"title": " "}, "title and body"),
        ({"timeout": 0}, "timeout=0"),
        ({"provider": "cachet", "api_url": ""}, "api_url=''"),
        ({"provider": "file"}, "path=''"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_input_is_refused_in_check_mode_too(changes: dict[str, Any], told: str, *, check: bool) -> None:
    with pytest.raises(RollbackError) as refused:
        page(options("statuspage", free_port()), check=check, **changes)
    assert told in refused.value.msg
    assert "Nothing was changed." in refused.value.msg
