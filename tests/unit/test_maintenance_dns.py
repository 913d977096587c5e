# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a name server, and what is read out of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.dns_server import (
    Change,
    RecordSet,
    Server,
    checked_key_file,
    checked_name,
    checked_server,
    checked_value,
    key_file_of,
    record_set,
    update_script,
)
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_dns import maintenance_dns

# dig 9.18 -r +noall +comments +answer
ANSWER = """;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 4711
;; flags: qr aa; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1

app.shop.example.\t300\tIN\tA\t198.51.100.8
App.shop.example.\t300\tIN\tA\t198.51.100.7
"""
ALIAS = """;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1
www.shop.example. 300 IN CNAME app.shop.example.
app.shop.example. 300 IN A 198.51.100.7
"""


class Programs:
    """Stands in for dig and nsupdate; keeps what they were called with."""

    def __init__(self, *outcomes: tuple[int, str, str]) -> None:
        """Answer with these, one after the other."""
        self.outcomes = list(outcomes)
        self.calls: list[list[str]] = []
        self.scripts: list[str] = []

    def __call__(self, argv: list[str], **_limits: Any) -> tuple[int, str, str]:
        """Keep the call, and the script of an update."""
        self.calls.append(argv)
        if "nsupdate" in argv[0]:
            self.scripts.append(Path(argv[-1]).read_text(encoding="utf-8"))
        return self.outcomes.pop(0)


@pytest.fixture(autouse=True)
def _programs_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both programs be found, whether this machine has them or not."""
    for name in ("dig", "nsupdate"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def server(programs: Programs) -> Server:
    return Server(programs, "192.0.2.53", 53, "shop.example.", "", 1)


def test_records_of_an_answer() -> None:
    assert record_set(ANSWER, "app.shop.example.", "A") == RecordSet(("198.51.100.7", "198.51.100.8"), 300)
    assert record_set(ANSWER, "app.shop.example.", "AAAA") == RecordSet((), 0)
    assert record_set(ANSWER, "api.shop.example.", "A") == RecordSet((), 0)
    assert record_set("", "app.shop.example.", "A") == RecordSet((), 0)
    assert record_set(ALIAS, "www.shop.example.", "CNAME") == RecordSet(("app.shop.example.",), 300)
    with pytest.raises(RollbackError, match="alias"):
        record_set(ALIAS, "www.shop.example.", "A")


def test_an_update_names_what_must_be_there_before() -> None:
    changes = [
        Change("app.shop.example.", "A", ("198.51.100.7", "198.51.100.8"), ("192.0.2.80",), 60),
        Change("new.shop.example.", "A", (), ("192.0.2.80",), 60),
        Change("old.shop.example.", "AAAA", ("2001:db8::1",), (), 0),
    ]
    assert update_script("192.0.2.53", 53, "shop.example.", changes).splitlines() == [
        "server 192.0.2.53 53",
        "zone shop.example.",
        "prereq yxrrset app.shop.example. A 198.51.100.7",
        "prereq yxrrset app.shop.example. A 198.51.100.8",
        "prereq nxrrset new.shop.example. A",
        "prereq yxrrset old.shop.example. AAAA 2001:db8::1",
        "update delete app.shop.example. A",
        "update add app.shop.example. 60 A 192.0.2.80",
        "update delete new.shop.example. A",
        "update add new.shop.example. 60 A 192.0.2.80",
        "update delete old.shop.example. AAAA",
        "send",
    ]


@pytest.mark.parametrize(
    ("errors", "words", "code"),
    [
        ("update failed: REFUSED\n", "policy", "REFUSED"),
        ("; TSIG error with server: tsig indicates error\nupdate failed: NOTAUTH(BADSIG)\n", "secret", "BADSIG"),
        ("update failed: NOTAUTH(BADKEY)\n", "does not know the key", "BADKEY"),
        ("update failed: NXRRSET\n", "somebody else", "NXRRSET"),
        ("update failed: YXDOMAIN\n", "YXDOMAIN", "YXDOMAIN"),
        ("key.file:3: unknown option 'c2VjcmV0'\n", "nsupdate ended with 2", None),
        ("; Communication with 192.0.2.53#53 failed: timed out\n", "did not say", None),
    ],
)
def test_what_a_failed_update_means(errors: str, words: str, code: str | None) -> None:
    with pytest.raises(RollbackError) as failed:
        server(Programs((2, "", errors))).change([Change("a.shop.example.", "A", (), ("192.0.2.80",), 60)])
    assert words in failed.value.msg
    assert failed.value.facts.get("rcode") == code
    assert "c2VjcmV0" not in str(vars(failed.value))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ((9, ";; no servers could be reached", ""), "does not answer"),
        ((0, "", ""), "does not answer"),
        ((124, "", ""), "does not answer"),
        ((0, ";; ->>HEADER<<- opcode: QUERY, status: REFUSED, id: 1", ""), "REFUSED"),
        ((0, ";; ->>HEADER<<- opcode: QUERY, status: SERVFAIL, id: 1", ""), "see its log"),
    ],
)
def test_a_question_without_an_answer(outcome: tuple[int, str, str], words: str) -> None:
    with pytest.raises(RollbackError, match=words):
        server(Programs(outcome)).ask("app.shop.example.", "A")


def test_a_name_that_does_not_exist_has_no_records() -> None:
    programs = Programs((0, ";; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 1", ""))
    assert server(programs).ask("app.shop.example.", "A") == RecordSet((), 0)


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "-a.example", "a b.example", "a\n.example", "@x.example", "é.example", "x" * 64 + ".example",
     "a.example;", "$(id).example"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(RollbackError, match="not accepted"):
        checked_name(text, "name")


def test_names_and_values_are_normal() -> None:
    assert checked_name("App.Shop.example", "name") == "app.shop.example."
    assert checked_name("*.shop.example.", "name") == "*.shop.example."
    assert checked_value("2001:DB8:0::1", "AAAA") == "2001:db8::1"
    for value, kind in (("1.2.3.4", "AAAA"), ("::1", "A"), ("1.2.3", "A"), ("a b", "CNAME"), ("1.2.3.4\nx", "A")):
        with pytest.raises(RollbackError):
            checked_value(value, kind)
    for address in ("-h", "a b", "+trace"):
        with pytest.raises(RollbackError):
            checked_server(address, 53)
    assert checked_server("ns1.example.com", 53) == "ns1.example.com"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "key"
    file.write_text("key")
    file.chmod(mode)
    with pytest.raises(RollbackError) as refused:
        checked_key_file(str(file))
    assert "chmod 0600" in refused.value.next_step
    file.chmod(0o600)
    assert checked_key_file(str(file)) == str(file)


def test_a_key_that_is_given_is_in_a_private_file_and_gone_after() -> None:
    key = {"name": "Rollback", "algorithm": "hmac-sha256", "secret": "c2VjcmV0c2VjcmV0"}
    with key_file_of(key, "") as path:
        assert Path(path).read_text() == 'key "rollback." { algorithm hmac-sha256; secret "c2VjcmV0c2VjcmV0"; };\n'
        assert (Path(path).stat().st_mode & 0o777, Path(path).parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not Path(path).exists()
    with pytest.raises(RollbackError) as refused, key_file_of(key | {"secret": 'x"; };'}, ""):
        pass
    assert 'x"' not in refused.value.msg + refused.value.next_step


def test_what_was_there_is_written_before_it_is_changed(tmp_path: Path) -> None:
    """Cut off in the update, the file is there already."""
    file = tmp_path / "kept" / "dns.json"

    class CutOff(Programs):
        def __call__(self, argv: list[str], **limits: Any) -> tuple[int, str, str]:
            if "nsupdate" in argv[0]:
                assert '"198.51.100.7"' in file.read_text()
                raise KeyboardInterrupt
            return super().__call__(argv, **limits)

    options: dict[str, Any] = {
        "state": "switched", "server": "192.0.2.53", "port": 53, "zone": "shop.example", "ttl": 60, "timeout": 1,
        "records": [{"name": "app.shop.example", "type": "A", "value": "192.0.2.80"}], "record_file": str(file),
        "key_file": "", "key": None,
    }  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        maintenance_dns(CutOff((0, ANSWER, "")), options, check_mode=False)
    # Nothing was switched, so what is put back is what is there.
    back = maintenance_dns(CutOff((0, ANSWER, ""), (0, ANSWER, "")), options | {"state": "restored"}, check_mode=False)
    assert not back["changed"]
    assert not file.exists()
