# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a report, written beside the journals that it is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RollbackError
from .journal import Journal, is_run_id, read_journal
from .report_html import report_html
from .report_junit import report_junit
from .report_markdown import report_markdown
from .run_history import UNREADABLE, summarise
from .run_report import Report, as_data, report_of
from .whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MODE = 0o600
_HOSTS = 1000
_AGAIN = "Make it again with the module usdx.rollback.run_report when that is mended."


def _report_json(report: Report) -> str:
    return json.dumps(as_data(report), indent=2, ensure_ascii=False) + "\n"


FILES: dict[str, Callable[[Report], str]] = {
    "report.html": report_html,
    "report.md": report_markdown,
    "report.json": _report_json,
    "junit.xml": report_junit,
}


def run_report(directory: str, *, check: bool = False) -> dict[str, Any]:
    """Write the report of a run into the directory of its journals, named like the run, one ``HOST.jsonl`` a host.

    The same journals give the same bytes, so a second call changes nothing. With ``check`` nothing is written.
    """
    place = Path(directory)
    report = read_report(place)
    wanted = {place / name: render(report) for name, render in FILES.items()}
    changed = [path for path, text in wanted.items() if _content(path) != text]
    for path in [] if check else changed:
        _write(path, wanted[path])
    return {
        "changed": bool(changed),
        "files": {name: str(place / name) for name in FILES},
        "state": report.state,
        "headline": report.headline,
    }


def read_report(place: Path) -> Report:
    """Return the report of the journals in a directory."""
    runs = [_read(path) for path in _journals(place)]
    return report_of(runs + [_lost(place, host) for host in _hosts_without_journal(runs)], _later(place))


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text, _MODE)
    except OSError as error:
        raise RollbackError(
            f"The report {path} cannot be written: {error.strerror or error}. The journals are untouched.",
            f"The user of Ansible on the controller needs the right to write there, and room. {_AGAIN}",
        ) from error


def _journals(place: Path) -> list[Path]:
    """Return the journals in a directory, in the order of the names of their hosts."""
    if not is_run_id(place.name):
        raise RollbackError(
            f"directory={place} is not accepted: its name is not that of a run. Nothing was written.",
            "Give the directory of a run below rollback_controller_directory, for example "
            ".../usdx-wexel/20261124T150405Z-3f9a.",
        )
    try:
        found = sorted(path for path in place.iterdir() if path.suffix == ".jsonl" and path.is_file())
    except OSError as error:
        raise RollbackError(
            f"directory={place} cannot be read: {error.strerror or error}. Nothing was written.",
            "Give the directory of a run on the controller that the user of Ansible may read.",
        ) from error
    if not 1 <= len(found) <= _HOSTS:
        raise RollbackError(
            f"directory={place} holds {len(found)} journals (*.jsonl), and a report needs 1 to {_HOSTS}. "
            "Nothing was written.",
            "Copy the journals of the hosts there, each as HOST.jsonl; they are in runs/RUN_ID/journal.jsonl below the "
            "state directory of the host.",
        )
    return found


def _later(place: Path) -> Iterator[dict[str, Any]]:
    """Return the runs that came after, the newest first, as far as their journals are beside this run."""
    for journal in sorted(place.parent.glob("*/*.jsonl"), reverse=True):
        run_id = journal.parent.name
        if is_run_id(run_id) and run_id > place.name:
            yield _read(journal)


def _read(path: Path) -> dict[str, Any]:
    """Return the run as the journal of a host tells it."""
    try:
        run = summarise(path.parent.name, read_journal(str(path)), str(path))
    except RollbackError as error:
        run = _unreadable(path, error.msg, "Make the journal readable.")
    # Where the journal itself says no host, the name of its file does.
    return {**run, "host": run["host"] or path.stem}


def _unreadable(path: Path, why: str, next_step: str) -> dict[str, Any]:
    nothing = summarise(path.parent.name, Journal([], 0), str(path))
    return {**nothing, "state": UNREADABLE, "why": why, "next_step": next_step}


def _hosts_without_journal(runs: list[dict[str, Any]]) -> list[str]:
    """Return the hosts that took part, as the other journals say, and of which none is here: they were lost."""
    openings = [event["facts"].get("hosts") for run in runs for event in run["events"]
                if event["event"] == "run_started"]  # fmt: skip
    took_part = {host for hosts in openings if isinstance(hosts, list) for host in hosts if isinstance(host, str)}
    return sorted(took_part - {run["host"] for run in runs})[:_HOSTS]


def _lost(place: Path, host: str) -> dict[str, Any]:
    """Return what is known of a host that took part and whose journal did not come back: that it is not known."""
    run = _unreadable(
        place / f"{Path(host).name}.jsonl",
        f"The host {host} was lost during the run: its journal did not come back.",
        f"Look at the host. When it answers again, resume or undo the run; then its journal is in runs/{place.name} "
        "below its state directory.",
    )
    return {**run, "host": host}


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
