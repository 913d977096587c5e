# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""maintenance_dns against a real BIND: check, real, check, real; then the server is asked."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import Outcome, call_module, free_port
from name_server import ZONE, NameServer, running_name_server

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "192.0.2.80"
RECORDS = [{"name": f"app.{ZONE}", "value": PAGE}, {"name": f"api.{ZONE}", "value": PAGE}]
APP, API = ["198.51.100.7", "198.51.100.8"], ["198.51.100.9"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NameServer]:
    """Give a name server with a zone of its own."""
    with running_name_server(tmp_path) as made:
        yield made


def call(server: NameServer, /, *, check: bool = False, **options: Any) -> Outcome:
    """Call the module as most tests do."""
    defaults = {
        "server": "127.0.0.1", "port": server.port, "zone": ZONE, "key_file": str(server.key_file),
        "record_file": str(record_file(server)), "records": RECORDS,
    }  # fmt: skip
    outcome = call_module("maintenance_dns", defaults | options, check=check)
    assert server.secret not in json.dumps(outcome.result) + outcome.shown + outcome.progress
    return outcome


def record_file(server: NameServer) -> Path:
    """Return where the former records are kept."""
    return server.key_file.parent / "kept" / "dns.json"


def test_check_real_check_real(server: NameServer) -> None:
    """Switched and restored, each twice, and before each what check mode says."""
    foreseen = call(server, check=True)
    assert foreseen["changed"]
    assert server.values("app") == APP
    assert not record_file(server).exists()

    done = call(server)
    assert not done.failed
    assert done["changed"]
    assert done["switched"]
    assert done["longest_ttl"] == 3600
    assert [one["former"] for one in done["records"]] == [APP, API]
    assert (server.values("app"), server.values("api")) == ([PAGE], [PAGE])
    assert stat.S_IMODE(record_file(server).stat().st_mode) == 0o600
    assert stat.S_IMODE(record_file(server).parent.stat().st_mode) == 0o700
    kept = record_file(server).read_text()
    for check in (True, False):
        again = call(server, check=check)
        assert not again.failed
        assert not again["changed"]
    assert record_file(server).read_text() == kept
    status = call(server, state="status", records=[])
    assert (status["switched"], status["changed"]) == (True, False)

    assert call(server, state="restored", check=True)["changed"]
    assert server.values("app") == [PAGE]
    back = call(server, state="restored")
    assert not back.failed
    assert back["changed"]
    assert (server.values("app"), server.values("api")) == (APP, API)
    assert not record_file(server).exists()
    for check in (True, False):
        again = call(server, state="restored", check=check)
        assert not again.failed
        assert not again["changed"]
    assert not call(server, state="status")["switched"]


def test_aliases_and_names_that_are_new(server: NameServer) -> None:
    """An alias is switched as such; a record that there was not is taken away again."""
    refused = call(server, records=[{"name": f"www.{ZONE}", "value": PAGE}])
    assert refused.failed
    assert "is an alias" in refused["msg"]
    records = [{"name": f"www.{ZONE}", "type": "CNAME", "value": f"Page.{ZONE}"},
               {"name": f"new.{ZONE}", "type": "AAAA", "value": "2001:DB8:0::80"}]  # fmt: skip
    assert call(server, records=records)["switched"]
    assert server.values("www", "CNAME") == [f"page.{ZONE}."]
    assert server.values("new", "AAAA") == ["2001:db8::80"]
    assert not call(server, records=records)["changed"]
    assert not call(server, state="restored").failed
    assert server.values("www", "CNAME") == [f"app.{ZONE}."]
    assert server.values("new", "AAAA") == []


def test_a_refusal_of_the_server(server: NameServer, tmp_path: Path) -> None:
    """All records or none; the reason is named; what is kept does no harm."""
    refused = call(server, records=[*RECORDS, {"name": f"locked.{ZONE}", "value": PAGE}])
    assert refused.failed
    assert refused["rcode"] == "REFUSED"
    assert "its policy does not let this key" in refused["msg"]
    assert "DNS is as it was" in refused["msg"]
    assert (server.values("app"), server.values("locked")) == (APP, ["198.51.100.1"])
    after = call(server, state="restored")
    assert not after.failed
    assert not after["changed"]

    text = server.key_file.read_text()
    for wrong in (text.replace(server.secret, "YWJj" * 11), text.replace("rollback.", "other.")):
        key_file = tmp_path / "wrong.key"
        key_file.write_text(wrong)
        key_file.chmod(0o600)
        failed = call(server, key_file=str(key_file))
        assert failed.failed
        assert "NOTAUTH" in failed["msg"]
        assert "YWJj" not in json.dumps(failed.result)
    unsigned = call(server, key_file="")
    assert unsigned["rcode"] == "REFUSED"
    elsewhere = call(server, zone="other.example", records=[{"name": "app.other.example", "value": PAGE}])
    assert elsewhere.failed
    assert "REFUSED" in elsewhere["msg"]
    assert server.values("app") == APP


def test_a_server_that_does_not_answer(server: NameServer) -> None:
    """Nobody listens: said within the limit, nothing is written."""
    failed = call(server, port=free_port(), timeout=1)
    assert failed.failed
    assert "does not answer" in failed["msg"]
    assert not record_file(server).exists()


def test_changed_by_somebody_else(server: NameServer) -> None:
    """What somebody has set since is not overwritten; what was put back by hand is seen."""
    assert not call(server).failed
    server.update(f"update delete app.{ZONE} A", f"update add app.{ZONE} 60 A 203.0.113.5")
    refused = call(server, state="restored")
    assert refused.failed
    assert f"app.{ZONE}. (203.0.113.5)" in refused["msg"]
    assert server.values("api") == [PAGE]
    server.update(f"update delete app.{ZONE} A", *(f"update add app.{ZONE} 300 A {value}" for value in APP))
    back = call(server, state="restored")
    assert not back.failed
    assert (server.values("app"), server.values("api")) == (APP, API)


def test_another_maintenance_host_and_one_more_name(server: NameServer) -> None:
    """What is kept is what was there before the first switch, for every name that was switched."""
    assert not call(server, records=RECORDS[:1]).failed
    moved = call(server, records=[{"name": f"app.{ZONE}", "value": "192.0.2.81"}])
    assert not moved.failed
    assert not call(server, records=RECORDS[1:]).failed
    assert (server.values("app"), server.values("api")) == (["192.0.2.81"], [PAGE])
    assert not call(server, state="restored").failed
    assert (server.values("app"), server.values("api")) == (APP, API)


def test_a_key_that_is_given(server: NameServer) -> None:
    """The key itself works too, and is shown nowhere."""
    key = {"name": "rollback", "secret": server.secret}
    assert call(server, key_file="", key=key)["switched"]
    assert not call(server, key_file="", key=key, state="restored").failed
    assert server.values("app") == APP


def test_refused_before_anything_changes(server: NameServer, tmp_path: Path) -> None:
    """Wrong input is named with what is accepted."""
    open_key = tmp_path / "open.key"
    open_key.write_text(server.key_file.read_text())
    open_key.chmod(0o640)
    broken = tmp_path / "broken.json"
    broken.write_text('{"records": [{"name": "app.shop.example.\\nsend", "type": "A"}]}')
    for options, words in (
        ({"records": []}, "records"),
        ({"records": [{"name": "app.example.org", "value": PAGE}]}, "zone"),
        ({"records": [{"name": f"app.{ZONE}", "value": f"{PAGE}\nsend"}]}, "value"),
        ({"records": [{"name": f"app.{ZONE} A\nsend", "value": PAGE}]}, "name"),
        ({"records": [{"name": f"app.{ZONE}", "type": "AAAA", "value": PAGE}]}, "AAAA"),
        ({"records": [RECORDS[0], RECORDS[0]]}, "once"),
        ({"server": "-h"}, "server"),
        ({"zone": "a b"}, "zone"),
        ({"ttl": 0}, "ttl"),
        ({"port": 0}, "port"),
        ({"timeout": "nan"}, "timeout"),
        ({"key_file": str(open_key)}, "chmod 0600"),
        ({"key_file": str(tmp_path / "none.key")}, "key_file"),
        ({"key_file": str(tmp_path)}, "key_file"),
        ({"key": {"name": "rollback", "secret": "YWJjZGVm"}}, "either"),
        ({"record_file": str(broken)}, "does not say"),
        ({"record_file": "/proc/none/dns.json"}, "could not be written"),
    ):
        refused = call(server, **options)
        assert refused.failed, options
        assert words in refused["msg"] + refused["next_step"], options
    assert (server.values("app"), server.values("api")) == (APP, API)
