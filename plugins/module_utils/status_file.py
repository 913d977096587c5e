# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A status page of our own: index.html, which needs nothing else, and status.json, both replaced at once."""

from __future__ import annotations

import fcntl
import html
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .http_probe import NoAnswerError
from .incident import Incident
from .waiter import wait_for
from .whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .incident import Update

INCIDENT_LIMIT = 20
UPDATE_LIMIT = 50
SIZE_LIMIT = 4 * 1024 * 1024
_WORDS = {
    "investigating": "Investigating", "identified": "Identified", "monitoring": "Monitoring", "resolved": "Resolved",
}  # fmt: skip
_STYLE = """
:root { color-scheme: light dark; --good: #1a7f4b; --bad: #b3261e; --rule: #8885 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
body { overflow-wrap: anywhere }
.now { border-left: .4rem solid var(--good); padding: .6rem 1rem; font-size: 1.2rem }
.now.bad { border-color: var(--bad) }
article { border-top: 1px solid var(--rule); padding: 1rem 0 } h2 { font-size: 1.1rem; margin: 0 0 .5rem }
p { margin: .3rem 0; white-space: pre-line } time, footer { opacity: .75; font-size: .9rem }
"""


class FilePage:
    """A page in a directory, which a web server serves."""

    def __init__(self, path: str, name: str, timeout: float) -> None:
        """Keep where the page is and how it is called."""
        self._folder = Path(path)
        self._name = name or "Status"
        self._timeout = timeout

    def find(self, mark: str) -> Incident | None:
        """Return the open incident with the mark."""
        row = _open_one(self._read(), mark)
        return _incident(row) if row else None

    def create(self, update: Update) -> Incident:
        """Open an incident, or move on the one that another has opened meanwhile."""
        return self._write(update)

    def move(self, incident: Incident, update: Update) -> Incident:
        """Move an incident on."""
        del incident  # it is looked for again, under the lock
        return self._write(update)

    def _read(self) -> list[dict[str, Any]]:
        """Return the incidents, the newest first. A file that is not ours is left alone."""
        try:
            with (self._folder / "status.json").open(encoding="utf-8") as file:
                rows = json.loads(file.read(SIZE_LIMIT))["incidents"]
            for row in rows:
                _incident(row)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise NoAnswerError(f"status.json cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise NoAnswerError("status.json holds no incidents; it is left as it is") from error
        return list(rows)

    def _write(self, update: Update) -> Incident:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = {"at": now, "state": update.state, "message": update.message}
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            with self._alone():
                rows = self._read()
                row = _open_one(rows, update.title[update.title.rindex("[") :])
                if row is None:
                    row = {"id": f"{now}-{len(rows)}", "title": update.title, "updates": []}
                    rows.insert(0, row)
                row.update(state=update.state, components=list(update.components))
                row["updates"] = [told, *row["updates"]][:UPDATE_LIMIT]
                rows = rows[:INCIDENT_LIMIT]
                page = {"name": self._name, "updated": now, "incidents": rows}
                write_whole(self._folder / "status.json", json.dumps(page, indent=1) + "\n", 0o644)
                write_whole(self._folder / "index.html", page_html(page), 0o644)
        except OSError as error:
            raise NoAnswerError(f"the page cannot be written: {error.strerror}") from error
        return _incident(row)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until nobody else writes the page."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            taken, _seen, _seconds = wait_for(lambda: (_locked(descriptor), None), self._timeout, 0.05)
            if not taken:
                raise NoAnswerError("another process is writing the page")
            yield
        finally:
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_one(rows: list[dict[str, Any]], mark: str) -> dict[str, Any] | None:
    found = (row for row in rows if row["title"].endswith(mark) and row["state"] != "resolved")
    return next(found, None)


def _incident(row: dict[str, Any]) -> Incident:
    return Incident(str(row["id"]), str(row["state"]), str(row["updates"][0]["message"]), "")


def page_html(page: dict[str, Any]) -> str:
    """Return the page; whatever stands in it is text."""
    open_ones = [row for row in page["incidents"] if row["state"] != "resolved"]
    now = _WORDS.get(open_ones[0]["state"], "Problem") if open_ones else "All services work"
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="60">',
        f"<title>{_text(page['name'])}: {_text(now)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(page['name'])}</h1>",
        f'<p class="now{" bad" if open_ones else ""}">{_text(now)}</p>',
        *[_article(row) for row in page["incidents"]],
        f"<footer>Updated <time>{_text(page['updated'])}</time></footer></body></html>\n",
    ]
    return "\n".join(parts)


def _article(row: dict[str, Any]) -> str:
    components = f"<p>Affected: {_text(', '.join(row['components']))}</p>" if row["components"] else ""
    updates = [
        f"<p><strong>{_text(_WORDS.get(one['state'], one['state']))}</strong> <time>{_text(one['at'])}</time>\n"
        f"{_text(one['message'])}</p>"
        for one in row["updates"]
    ]
    return f"<article><h2>{_text(row['title'])}</h2>{components}{''.join(updates)}</article>"


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
