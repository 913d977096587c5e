# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run, from journals of real runs: one that succeeded, and one whose last smoke test failed."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.journal import record
from ansible_collections.usdx.rollback.plugins.module_utils.report_files import FILES, read_report, run_report
from ansible_collections.usdx.rollback.plugins.module_utils.report_html import chart, report_html
from ansible_collections.usdx.rollback.plugins.module_utils.report_junit import report_junit
from ansible_collections.usdx.rollback.plugins.module_utils.report_markdown import escaped, report_markdown
from ansible_collections.usdx.rollback.plugins.module_utils.run_report import Report, as_data

DATA = Path(__file__).parent / "data"
RUN = "20261124T161617Z-b8db"
UNDO, UNDO_OF_UNDO = "20261124T170000Z-00aa", "20261124T180000Z-00bb"
# It would run, be a template, steer a terminal, turn letters around, and break a table or a list.
NASTY = (
    '<script>alert(1)</script> {{ 7 * 7 }} \x1b[31m\u202egnp.exe | a * b\n- [x] done & "quoted" ]]> ' + "long " * 1000
)


class Page(HTMLParser):
    """What a browser would make of a page, as far as it matters here."""

    def __init__(self, page: str) -> None:
        """Read it."""
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, and what it would load."""
        self.tags.append(tag)
        self.links += [f"{name}={value}" for name, value in attrs if name in ("src", "href") or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


def events(name: str) -> list[dict[str, Any]]:
    """Return the events of a journal."""
    told: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    started: dict[str, Any] = next(event for event in told["events"] if event["event"] == "run_started")
    started["facts"].setdefault("plan", told["plan"])
    return list(told["events"])


def written(directory: Path, host: str, told: list[dict[str, Any]], run: str = RUN) -> Path:
    """Write the copy of a journal; return the directory of the run."""
    place = directory / run
    place.mkdir(exist_ok=True)
    (place / f"{host}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told), encoding="utf-8")
    return place


def report_from(tmp_path: Path, *hosts: list[dict[str, Any]]) -> Report:
    """Return the report of journals as they are read from disk."""
    for number, told in enumerate(hosts):
        written(tmp_path, f"host{number}", told)
    place = tmp_path / RUN
    run_report(str(place))
    report = read_report(place)
    assert json.loads((place / "report.json").read_text(encoding="utf-8")) == as_data(report)
    return report


def test_a_run_that_succeeded(tmp_path: Path) -> None:
    report = report_from(tmp_path, events("succeeded_run"))
    assert report.state == "succeeded"
    assert re.fullmatch(r"Succeeded: v1\.0\.2 is back; (\d+) of \1 checks passed", report.headline)
    assert report.hosts[0].failure is None
    assert [moment.name for moment in report.moments] == [
        "detected", "decided", "stopped", "started", "healthy", "closed",
    ]  # fmt: skip
    assert report.moments[0].time is None
    assert all(moment.time for moment in report.moments[1:])
    assert report.recovery[0] == "From detected to healthy: unknown"
    assert [command.command.split()[1] for command in report.commands] == ["usdx.rollback.undo"]


@pytest.mark.parametrize(
    ("stage", "headline"),
    [
        ("contain", "Succeeded, stage contain: the application is stopped until it was reviewed"),
        ("assess", "Succeeded, stage assess: what was found is on record"),
        ("recover", "Succeeded, stage recover: v1.0.2 is checked out; nothing was started"),
        ("release", "Succeeded, stage release: v1.0.2 is live again; 9 of 9 checks passed"),
    ],
)
def test_a_stage_of_an_incident_claims_only_what_it_does_and_names_no_undo(
    tmp_path: Path, stage: str, headline: str
) -> None:
    told = events("succeeded_run")
    started: dict[str, Any] = next(event for event in told if event["event"] == "run_started")
    started["facts"] |= {"scenario": "security_incident", "inputs": {"stage": stage}}
    report = report_from(tmp_path, told)
    assert re.sub(r"\d+ of \d+", "9 of 9", report.headline) == headline
    typed = [] if stage == "release" else ["usdx.rollback.security_incident"]
    assert [command.command.split()[1] for command in report.commands] == typed
    assert f"security_incident, stage {stage} of" in report_html(report)


def test_a_release_that_stayed_is_not_called_back(tmp_path: Path) -> None:
    told = events("succeeded_run")
    started: dict[str, Any] = next(event for event in told if event["event"] == "run_started")
    started["facts"] |= {"scenario": "infrastructure_issue", "steps": ["identify_release", "verify_release"]}
    started["facts"]["from"] = {"commit": started["facts"]["commit"], "release": started["facts"]["version"]}
    report = report_from(tmp_path, told)
    assert report.headline.startswith("Succeeded: v1.0.2 stays; ")
    assert report.commands == (), "there is nothing to undo"
    for page in (Page(report_html(report)).text, report_markdown(report)):
        assert "stays" in page
        assert "From v1.0.2" not in page


def test_a_patch_is_named_with_its_sum(tmp_path: Path) -> None:
    told = events("succeeded_run")
    started: dict[str, Any] = next(event for event in told if event["event"] == "run_started")
    started["facts"]["patch"] = {"name": "fix.patch", "sha256": "5" * 64, "base": "b" * 40, "files": ["a"]}
    report = report_from(tmp_path, told)
    assert " with patch fix.patch (" in report.after
    assert report.after.endswith(f"patch sha256 {'5' * 64}")
    assert "5" * 64 in report_markdown(report)
    assert "5" * 64 in report_html(report)


def test_a_run_that_failed_says_what_where_and_what_to_type(tmp_path: Path) -> None:
    report = report_from(tmp_path, events("failed_run"))
    (host,) = report.hosts
    assert report.state == "failed"
    assert report.headline == "Failed at step 6, Verify rollback"
    assert host.failure
    assert "failed" in host.failure.what
    assert host.failure.untouched
    assert host.failure.next_step
    assert [command.command.split()[1] for command in report.commands] == ["usdx.rollback.resume", "usdx.rollback.undo"]
    page = Page(report_html(report)).text
    for words in (host.failure.what, host.failure.untouched, host.failure.next_step, report.commands[0].command):
        assert words in page
    cases = ET.fromstring(report_junit(report)).iter("testcase")  # noqa: S314 - made here
    assert "6 Verify rollback" in [case.get("name") for case in cases if case.find("failure") is not None]


def test_silenced_alerts_and_graphs_are_told(tmp_path: Path) -> None:
    told = events("succeeded_run")
    assert report_from(tmp_path, told).hosts[0].notes == ()
    facts = {"verdict": "passed", "why": "", "changed": True, "matchers": [f'service="{NASTY}"'], "silences": [7]}
    middle = {**told[1], "step": None, "event": "alerts_silenced", "facts": facts}
    told[-1]["facts"]["annotation"] = {"verdict": "inconclusive", "why": "it is away"}
    report = report_from(tmp_path, [told[0], middle, *told[1:]])
    assert report.hosts[0].notes == ("what is on record of resumes and silenced alerts cannot be read",), (
        "no silence is a number"
    )
    facts["silences"] = [{"id": "x", "ends": "2026-11-25T18:00:00.000Z"}]
    report = report_from(tmp_path, [told[0], middle, *told[1:]])
    silenced, grafana = report.hosts[0].notes
    assert silenced.startswith('Alerts with service="<script>')
    assert grafana == "Grafana does not show the run: it is away"
    page = Page(report_html(report))
    assert "script" not in page.tags
    assert grafana in page.text
    assert "- Grafana does not show the run: it is away\n" in report_markdown(report)


def test_a_run_without_an_end_is_not_called_a_success(tmp_path: Path) -> None:
    told = [event for event in events("succeeded_run") if event["event"] != "run_finished"][:8]
    report = report_from(tmp_path, told)
    assert report.state == "unfinished"
    assert report.headline.startswith("Cut off, or still under way")
    assert "usdx.rollback.resume" in report.commands[0].command


def test_of_several_hosts_the_worst_decides(tmp_path: Path) -> None:
    report = report_from(tmp_path, events("succeeded_run"), events("failed_run"))
    assert report.state == "failed"
    assert len(report.hosts) == 2
    assert report_html(report).count('<div class="chart"') == 2
    suites = ET.fromstring(report_junit(report)).findall("testsuite")  # noqa: S314 - made here
    assert [int(suite.get("failures", "0")) > 0 for suite in suites] == [False, True]


def test_what_a_journal_quotes_is_only_text(tmp_path: Path) -> None:
    told = events("failed_run")
    told[0]["facts"] |= {"reason": NASTY, "project": NASTY, "scenario": NASTY}
    for event in told:
        if event["event"] == "step_failed":
            event["facts"] |= {"msg": NASTY, "next_step": NASTY, "checks": [
                {"name": NASTY, "verdict": "failed", "seen": NASTY, "limit": NASTY, "seconds": 0.1},
                {"name": NASTY, "verdict": NASTY, "seen": 7, "limit": None, "seconds": "long"},
            ]}  # fmt: skip
    report = report_from(tmp_path, told)
    text = report_html(report)
    page = Page(text)
    assert "script" not in page.tags
    assert page.links == []
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    for bad in ("\x1b", "\u202e"):
        assert bad not in text + report_markdown(report) + report_junit(report)
    assert len(text) < 200_000
    draft = report_markdown(report)
    assert "<script>" not in draft
    assert "\n- [x] done" not in draft
    names = [case.get("name") for case in ET.fromstring(report_junit(report)).iter("testcase")]  # noqa: S314
    assert len(names) == len(set(names))


def test_the_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    text = report_html(report_from(tmp_path, events("succeeded_run")))
    page = Page(text)
    assert page.links == []
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert "default-src 'none'" in text
    assert page.tags.count("h1") == 1
    assert "url(" not in text
    assert "@import" not in text


def test_the_chart_is_as_wide_as_the_page_whatever_that_is(tmp_path: Path) -> None:
    """All that stands along the axis is in percent of what there is, so nothing is wider than a phone."""
    told = events("succeeded_run")
    long_after = next(number for number, event in enumerate(told) if event["step"] == "start_services")
    for event in told[long_after:]:
        event["time"] = event["time"].replace("2026-11-24", "2026-11-26")
    for report in (report_from(tmp_path, events("failed_run")), report_from(tmp_path, told)):
        page = report_html(report)
        assert "min-width" not in page.replace("(min-width", "")
        assert "overflow-x" not in page
        assert "viewBox" not in page
        drawing = page.partition('<div class="chart"')[2].partition("<table>")[0]
        along = re.findall(r' (?:x|x1|x2|cx|width)="([^"]*)"', drawing)
        assert along
        assert all(place.endswith("%") and 0 <= float(place[:-1]) <= 100 for place in along)
        for began, width in re.findall(r'<rect[^>]* x="([\d.]+)%" [^>]*width="([\d.]+)%"', drawing):
            assert float(began) + float(width) <= 100
        for step in report.hosts[0].steps:
            assert step.title in drawing, "a name is not cut off"


def test_labels_of_the_axis_do_not_touch_each_other_on_a_phone(tmp_path: Path) -> None:
    (host,) = report_from(tmp_path, events("succeeded_run")).hosts
    ticks = chart(host)["ticks"]
    shown = [tick["x"] for tick in ticks if not tick["fine"]]
    assert ticks[0]["x"] == shown[0]
    assert len(shown) >= 4
    assert min(after - before for before, after in zip(shown, shown[1:])) >= 15  # of 358 pixels: 53


@pytest.mark.parametrize("cut", range(0, 20, 3))
def test_a_journal_that_ends_anywhere_makes_a_report(tmp_path: Path, cut: int) -> None:
    report = report_from(tmp_path, events("succeeded_run")[:cut])
    assert report.state == "unfinished"
    assert report_html(report)
    assert report_markdown(report)


def test_facts_of_any_shape_make_a_report(tmp_path: Path) -> None:
    shapes: list[Any] = [
        [],
        "text",
        7,
        None,
        {"checks": 7},
        {"services": [1]},
        {"results": {"a": 1}},
        {"messages": ["x"]},
        {"items": 7, "actions": ["x"], "issues": {}},
        {"items": [{"state": "done", "name": []}], "actions": [{"state": {}}], "issues": [{"name": 7}]},
    ]
    for shape in shapes:
        told = copy.deepcopy(events("succeeded_run"))
        told.append({**told[-1], "event": "follow_up"})
        for event in told:
            event["facts"] = shape
        assert report_from(tmp_path, told).hosts


def test_the_same_journals_give_the_same_bytes_and_private_files(tmp_path: Path) -> None:
    place = written(tmp_path, "demo", events("succeeded_run"))
    assert run_report(str(place), check=True)["changed"]
    assert not (place / "report.html").exists()
    first = run_report(str(place))
    assert first["changed"]
    assert {path.name for path in place.iterdir()} == {"demo.jsonl", *FILES}
    assert {(place / name).stat().st_mode & 0o777 for name in FILES} == {0o600}
    again = run_report(str(place))
    assert again == {**first, "changed": False}


def test_a_checklist_and_messages_are_shown(tmp_path: Path) -> None:
    told = events("succeeded_run")
    last = [event for event in told if event["event"] == "step_finished"][-1]
    last["facts"] |= {
        "checklist": [{"name": "Connect wallet", "state": "open", "by": "", "note": "nobody was asked"},
                      {"name": "Open the page", "state": "done", "by": "Ann", "note": ""}],
        "messages": [{"notifier": "chat", "audience": "team", "subject": "Rolled back", "state": "kept",
                      "why": "connection refused"}],
    }  # fmt: skip
    report = report_from(tmp_path, told)
    page = Page(report_html(report)).text
    for words in ("Connect wallet", "nobody was asked", "kept: connection refused", "Not delivered: 1 of"):
        assert words in page
    draft = report_markdown(report)
    assert "- [ ] Connect wallet" in draft
    assert "- [x] Open the page" in draft


def test_what_is_done_open_and_late_after_a_run_is_shown_with_who_and_when(tmp_path: Path) -> None:
    told = events("succeeded_run")
    assert "To be done after" not in report_html(report_from(tmp_path, told)), "nobody has looked yet"
    ticks = [{"name": "Backups verified", "state": "done", "by": "follow_up", "note": "/b is whole"}]
    more = [{"name": "Timeline <b>", "state": "done", "by": "Ann", "note": ""},
            {"name": "Of an older list", "state": "done", "by": "Bob", "note": ""}]  # fmt: skip
    actions = [
        {"name": "Timeline <b>", "owner": "on_call", "due": "2026-11-24 17:21 UTC", "state": "late"},
        {"name": "Root cause identified", "owner": "team_lead (Eve)", "due": "2026-11-25 16:21 UTC", "state": "late"},
        {"name": "Backups verified", "owner": "dba", "due": "2026-11-25 16:21 UTC", "state": "done"},
        {"name": "Team learnings shared", "owner": "team_lead", "due": "2026-12-01 16:21 UTC", "state": "open"},
    ]
    issues = [{"name": "Root cause identified", "issue": "https://example.com/21"}]
    for hour, facts in enumerate(({"items": ticks, "actions": [actions[0]]}, {"issues": issues},
                                  {"items": more, "actions": actions})):  # fmt: skip
        told.append({"time": f"2026-11-25T1{hour}:00:00.000+00:00", "elapsed": 9.0, "event": "follow_up", "step": None,
                     "facts": facts})  # fmt: skip
    report = report_from(tmp_path, told)
    assert [(one.state, one.name, one.by, one.at) for one in report.hosts[0].follow_up] == [
        ("done", "Timeline <b>", "Ann", "2026-11-25T12:00:00.000+00:00"),
        ("late", "Root cause identified", "", None),
        ("done", "Backups verified", "follow_up", "2026-11-25T10:00:00.000+00:00"),
        ("open", "Team learnings shared", "", None),
        ("done", "Of an older list", "Bob", "2026-11-25T12:00:00.000+00:00"),
    ]
    page = Page(report_html(report))
    for words in ("3 of 5 done, 2 open, 1 of them late, as seen 2026-11-25 12:00:00 UTC.", "Timeline <b>",
                  "by Ann, 2026-11-25 12:00:00 UTC", "/b is whole", "issue https://example.com/21"):  # fmt: skip
        assert words in page.text
    assert "b" not in page.tags
    draft = report_markdown(report)
    assert "- [x] Timeline \\<b\\> (on\\_call, due 2026-11-24 17:21 UTC): by Ann, 2026-11-25 12:00:00 UTC\n" in draft
    late = (
        "- [ ] Root cause identified (team\\_lead (Eve), due 2026-11-25 16:21 UTC, LATE); issue https://example.com/21"
    )
    assert late in draft
    assert draft.index("## To be done after the run") < draft.index("## Root cause")


def test_what_a_run_left_open_and_somebody_has_looked_at_since_is_not_open(tmp_path: Path) -> None:
    told = events("succeeded_run")
    last = [event for event in told if event["event"] == "step_finished"][-1]
    left = {"state": "open", "by": "", "note": ""}
    last["facts"]["checklist"] = [{"name": name, **left} for name in ("Connect wallet", "View dashboard")]
    last["facts"]["checklist"].append({"name": "Pools", "state": "failed", "by": "Bob", "note": "empty"})
    tick = {"name": "Manual check: Connect wallet", "state": "done", "by": "Ann", "note": ""}
    items = [tick, {**tick, "name": "Manual check: Pools"}]
    told.append({**told[-1], "time": "2026-11-25T10:00:00.000+00:00", "event": "follow_up", "facts": {"items": items}})
    report = report_from(tmp_path, told)
    assert [(one.name, one.state, one.by, one.note) for one in report.hosts[0].checklist] == [
        ("Connect wallet", "done", "Ann", "after the run, 2026-11-25 10:00:00 UTC"), ("View dashboard", "open", "", ""),
        ("Pools", "done", "Ann", "empty; after the run, 2026-11-25 10:00:00 UTC"),
    ]  # fmt: skip
    assert "- [x] Connect wallet (done, Ann)" in report_markdown(report)


def test_a_smoke_test_counts_once_and_what_does_not_decide_is_no_error(tmp_path: Path) -> None:
    told = events("succeeded_run")
    (verified,) = [one for one in told if (one["event"], one["step"]) == ("step_finished", "verify_release")]
    verified["facts"] |= {
        "smoke_tests": [{"name": "test.sh", "rc": 0, "verdict": "passed"}],
        "checks": [
            {"name": "test.sh", "kind": "command", "verdict": "passed", "seen": "it returned 0", "decides": True},
            {
                "name": "webapp",
                "kind": "log",
                "verdict": "inconclusive",
                "seen": "2 look like errors",
                "decides": False,
            },
        ],
    }
    report = report_from(tmp_path, told)
    assert [(one.name, one.decides) for one in report.hosts[0].checks if one.step == "verify_release"] == [
        ("test.sh", True), ("webapp", False),
    ]  # fmt: skip
    assert re.fullmatch(r"Succeeded: v1\.0\.2 is back; (\d+) of \1 checks passed", report.headline)
    assert "inconclusive; does not decide" in report_html(report)
    (suite,) = ET.fromstring(report_junit(report))  # noqa: S314 - made here
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")


def test_when_the_fault_was_noticed_is_counted(tmp_path: Path) -> None:
    told = events("succeeded_run")
    told[0]["facts"]["inputs"] = {"detected_at": told[0]["time"][:16] + "Z"}
    report = report_from(tmp_path, told)
    assert report.moments[0].time
    assert not report.recovery[0].endswith("unknown")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1. first", "1\\. first"),
        ("2.9 s", "2.9 s"),
        ("- a | b", "\\- a \\| b"),
        ("a\n\nb", "a b"),
        ("*x*", "\\*x\\*"),
        ("<b>", "\\<b\\>"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RollbackError, match="its name is not that of a run"):
        run_report(str(tmp_path))
    (tmp_path / RUN).mkdir()
    with pytest.raises(RollbackError, match="holds 0 journals"):
        run_report(str(tmp_path / RUN))
    with pytest.raises(RollbackError, match="cannot be read"):
        run_report(str(tmp_path / "other" / RUN))


def test_a_journal_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    place = written(tmp_path, "demo", events("succeeded_run"))
    (place / "other.jsonl").symlink_to(place / "demo.jsonl")
    told = run_report(str(place))
    assert (told["state"], told["headline"]) == ("unreadable", "Not known: no journal can be read of other")


def test_a_host_that_was_lost_is_named(tmp_path: Path) -> None:
    """Its journal cannot say so: it did not come back."""
    told = events("succeeded_run")
    told[0]["facts"] |= {"host": "demo", "hosts": ["demo", "web2"]}
    place = written(tmp_path, "demo", told)
    assert run_report(str(place))["headline"] == "Not known: no journal can be read of web2"
    lost = read_report(place).hosts[1]
    assert lost.failure
    assert (lost.host, lost.failure.what) == (
        "web2", "The host web2 was lost during the run: its journal did not come back.",
    )  # fmt: skip
    told[-1]["facts"]["outcome"] = "failed"
    written(tmp_path, "demo", told)
    assert run_report(str(place))["state"] == "failed"


def test_a_journal_as_the_module_writes_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    record(str(state), RUN, [{"event": "run_started", "step": None, "facts": {"scenario": "rollback"}}])
    place = tmp_path / RUN
    place.mkdir()
    (place / "demo.jsonl").write_bytes((state / "runs" / RUN / "journal.jsonl").read_bytes())
    assert run_report(str(place))["state"] == "unfinished"


def test_who_went_on_after_which_failure(tmp_path: Path) -> None:
    told = events("succeeded_run")
    at = next(number for number, event in enumerate(told) if event["event"] == "step_finished")
    step = told[at]["step"]
    failed = {**told[at], "event": "step_failed", "facts": {"msg": "The disk is full.", "next_step": "Make room."}}
    ended = {**failed, "event": "run_finished", "facts": {"outcome": "failed"}, "step": None}
    again = {**ended, "event": "run_resumed", "facts": {"controller": {"user": "bob", "host": "desk"}}}
    begun = {**failed, "event": "step_started", "facts": {}}
    cut_off = {**again, "facts": {"controller": {"user": "eve", "host": "desk"}}}
    told[at:at] = [failed, ended, again, begun, cut_off, begun]

    (host,) = report_from(tmp_path, told).hosts
    title = next(one.title for one in host.steps if one.name == step)
    [first, second] = [line for line in host.notes if "gone on with" in line]
    assert first.endswith(f"by bob on desk. It had failed in {title!r}: The disk is full.")
    assert second.endswith(f"by eve on desk. It had been cut off in {title!r}.")
    assert first in Page(report_html(report_from(tmp_path, told))).text


def an_undo(of: str, outcome: str = "succeeded") -> list[dict[str, Any]]:
    """Return the events of the undo of a run."""
    told = {"undo_of": of, "scenario": "undo", "controller": {"user": "eve", "host": "desk"}}
    return [
        {"time": f"2026-11-24T17:{minute:02d}:00.000+00:00", "elapsed": 60.0, "event": event, "step": step,
         "facts": facts}
        for minute, event, step, facts in [
            (0, "run_started", None, told), (0, "step_started", "stop_services", {}),
            (1, "run_finished", None, {"outcome": outcome}),
        ]
    ]  # fmt: skip


def test_a_run_that_was_undone_says_when_by_whom_and_where_the_report_of_that_is(tmp_path: Path) -> None:
    written(tmp_path, "host0", an_undo(RUN), UNDO)
    written(tmp_path, "another host", an_undo(RUN), UNDO_OF_UNDO)
    report = report_from(tmp_path, events("succeeded_run"))
    assert report.headline.startswith(f"Undone by run {UNDO}. Before that: Succeeded: v1.0.2 is back; ")
    assert report.undone_by == UNDO
    assert [command.command.split()[1:4] for command in report.commands] == [
        ["usdx.rollback.undo", "-e", f"run={UNDO}"]
    ]
    told = f"Undone by run {UNDO}, 2026-11-24 17:01:00 UTC, started by eve on desk."
    page = Page(report_html(report))
    assert told in page.text
    assert page.links == [f"href=../{UNDO}/report.html"]
    assert f"{escaped(told)} [Its report](../{UNDO}/report.md)" in report_markdown(report)


def test_an_undo_that_failed_or_was_taken_back_is_told_and_the_run_stands(tmp_path: Path) -> None:
    stands = report_from(tmp_path, events("succeeded_run"))
    written(tmp_path, "host0", an_undo(RUN), UNDO)
    written(tmp_path, "host0", an_undo(UNDO), UNDO_OF_UNDO)
    report = report_from(tmp_path, events("succeeded_run"))
    assert (report.headline, report.undone_by, report.commands) == (stands.headline, "", stands.commands)
    assert f"started by eve on desk; run {UNDO_OF_UNDO} has taken that back." in Page(report_html(report)).text

    written(tmp_path, "host0", an_undo(UNDO, "failed"), UNDO_OF_UNDO)
    assert report_from(tmp_path, events("succeeded_run")).undone_by == UNDO, "what failed takes nothing back"

    written(tmp_path, "host0", an_undo(RUN, "failed"), UNDO)
    report = report_from(tmp_path, events("succeeded_run"))
    assert (report.headline, report.undone_by) == (stands.headline, "")
    assert f"Run {UNDO}, started by eve on desk, was to undo it, and failed." in report_markdown(report)
    assert [command.command.split()[1:4] for command in report.commands] == [
        ["usdx.rollback.resume", "-e", f"run={UNDO}"], ["usdx.rollback.undo", "-e", f"run={UNDO}"]
    ]  # fmt: skip


def test_of_several_hosts_those_that_were_undone_are_named(tmp_path: Path) -> None:
    written(tmp_path, "host1", an_undo(RUN), UNDO)
    both = (events("succeeded_run"), events("succeeded_run"))
    report = report_from(tmp_path, *both)
    assert f"Undone on host1 by run {UNDO}, " in report_markdown(report)
    assert (report.undone_by, report.headline[:10]) == ("", "Succeeded:"), "on host0 it stands"
    assert any(f"-e run={RUN}" in command.command for command in report.commands), "and can be undone there"
    written(tmp_path, "host0", an_undo(RUN), UNDO)
    assert report_from(tmp_path, *both).undone_by == UNDO


def test_what_is_beside_a_run_and_tells_nothing_of_an_undo_changes_nothing(tmp_path: Path) -> None:
    alone = report_from(tmp_path, events("succeeded_run"))
    written(tmp_path, "host0", an_undo("20261124T150000Z-0001"), UNDO)
    written(tmp_path, "host0", an_undo(RUN), "20261124T100000Z-0001")
    written(tmp_path, "host0", [], "notes")
    (tmp_path / "20261124T190000Z-0001").write_text("no folder")
    (tmp_path / UNDO_OF_UNDO / "host0.jsonl").mkdir(parents=True)
    assert report_from(tmp_path, events("succeeded_run")) == alone
