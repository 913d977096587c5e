# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page: one incident of a run, moved through four states, at services or in a file of our own.

A provider finds the open incident that holds the key, makes one, and moves one. All else is the same for all of them.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from .border import plain
from .errors import RollbackError
from .http_probe import HttpRequest, NoAnswerError, begin_fetch, checked_url, printable
from .incident import STATES, Incident, Update
from .status_file import FilePage
from .waiter import checked_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

PROVIDERS = ("statuspage", "cachet", "instatus", "file")
TITLE_LIMIT = 150
MESSAGE_LIMIT = 4000
_URLS = {"statuspage": "https://api.statuspage.io", "instatus": "https://api.instatus.com"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GOOD = range(200, 300)
# What a component is while an incident is in a state; each service has its own words for it.
_COMPONENTS = {"investigating": "partial", "identified": "partial", "monitoring": "good", "resolved": "good"}
_STATUSPAGE_COMPONENT = {"partial": "partial_outage", "good": "operational"}
_INSTATUS_COMPONENT = {"partial": "PARTIALOUTAGE", "good": "OPERATIONAL"}
_CACHET_COMPONENT = {"partial": 3, "good": 1}
_CACHET_STATE = {state: number for number, state in enumerate(STATES, start=1)}


class Provider(Protocol):
    """What a status page can do."""

    def find(self, mark: str) -> Incident | None:
        """Return the open incident whose title ends with the mark."""

    def create(self, update: Update) -> Incident:
        """Open an incident."""

    def move(self, incident: Incident, update: Update) -> Incident:
        """Move an incident to the state of the update."""


def status_page(options: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Show a state on the status page; with ``check`` only see what would change.

    The same state and message twice change nothing. To resolve what is not open is no error.
    """
    update, mark = _update(options)
    timeout = checked_seconds(options["timeout"], "timeout", 0.5)
    provider = _provider(options, timeout)
    facts: dict[str, Any] = {
        "changed": False, "delivered": False, "provider": options["provider"], "state": update.state,
        "title": update.title, "incident_id": "", "url": "", "why": "",
    }  # fmt: skip
    try:
        found = provider.find(mark)
        same = found is not None and (found.state, found.message) == (update.state, update.message)
        nothing = same or (found is None and update.state == "resolved")
        shown = found
        if not nothing and not check:
            shown = provider.move(found, update) if found else provider.create(update)
    except NoAnswerError as error:
        return _undelivered(facts, printable(str(error)), options["on_failure"])
    known = {"incident_id": shown.identity, "url": shown.url} if shown else {}
    return {**facts, "changed": not nothing, "delivered": nothing or not check, **known}


def _undelivered(facts: dict[str, Any], why: str, on_failure: str) -> dict[str, Any]:
    told = f"The status page ({facts['provider']}) was not moved to {facts['state']}: {why}."
    if on_failure == "stop":
        raise RollbackError(
            f"{told} Nothing else was changed.",
            "Mend it and run again, or set it by hand. If the run may go on without it, set on_failure to warn.",
            **{**facts, "why": why},
        )
    return {**facts, "why": why, "warnings": [f"{told} Set it by hand if it stays so."]}


# --- what was typed --------------------------------------------------------------------------------------------------


def _update(options: dict[str, Any]) -> tuple[Update, str]:
    """Return the update and the mark by which its incident is found again."""
    key = options["incident_key"].strip()
    if not key or not key.isprintable() or len(key) > 60 or "[" in key or "]" in key:  # noqa: PLR2004 - it is shown
        raise _refused("incident_key", options["incident_key"], "1 to 60 printable characters without brackets")
    title, message = printable(options["title"].strip(), TITLE_LIMIT), plain(options["body"]).strip()
    if not title or not message:
        raise _refused("title and body", (options["title"], options["body"]), "a text for both")
    message = message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
    mark = f"[{key}]"
    return Update(options["state"], f"{title} {mark}", message, tuple(options["components"])), mark


def _provider(options: dict[str, Any], timeout: float) -> Provider:
    """Return the provider that the options name; refuse one that lacks what it needs."""
    name = options["provider"]
    needed = {"statuspage": ["page", "token"], "instatus": ["page", "token"], "cachet": ["api_url", "token"]}
    for option in needed.get(name, ["path"]):
        if not options[option]:
            shown = None if option == "token" else options[option]
            raise _refused(option, shown, f"{option}, which the provider {name} needs")
    if name == "file":
        return FilePage(options["path"], options["page"], timeout)
    url = checked_url((options["api_url"] or _URLS[name]).rstrip("/"), "api_url")
    page = options["page"]
    if any(not (letter.isalnum() or letter in "-_.") for letter in page):
        raise _refused("page", page, "the id of the page: letters, digits and hyphens")
    if name == "statuspage":
        return Statuspage(
            _Service(f"{url}/v1/pages/{page}", {"Authorization": f"OAuth {options['token']}"}, timeout, options)
        )
    if name == "instatus":
        return Instatus(_Service(f"{url}/v1/{page}", {"Authorization": f"Bearer {options['token']}"}, timeout, options))
    if options["api_version"] == "2":
        return Cachet(_Service(f"{url}/api/v1", {"X-Cachet-Token": options["token"]}, timeout, options), 2)
    return Cachet(_Service(f"{url}/api", {"Authorization": f"Bearer {options['token']}"}, timeout, options), 3)


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(f"{option}={value!r} is not accepted. Nothing was changed.", f"Give {accepted}.")


# --- services --------------------------------------------------------------------------------------------------------


class _Service:
    """JSON over HTTP, all requests of one call within one limit. A redirect is refused: the token is for this place."""

    def __init__(self, url: str, headers: dict[str, str], timeout: float, options: dict[str, Any]) -> None:
        self._url = url
        self._headers = {**headers, "Accept": "application/json", "Content-Type": "application/json"}
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._validate = options["validate_certs"]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - a JSON value
        """Return the answer of the service; ``NoAnswerError`` says why there is none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NoAnswerError(f"no whole answer within {self._timeout:g} seconds")
        sent = None if body is None else json.dumps(body).encode()
        request = HttpRequest(
            self._url + path,
            max(0.1, round(left, 1)),
            headers=self._headers,
            validate_certs=self._validate,
            method=method,
            body=sent,
        )
        answer = begin_fetch(request, _REDIRECTS).result()
        if answer.status not in _GOOD:
            raise NoAnswerError(f"{method} was answered with status {answer.status}")
        try:
            return json.loads(answer.body) if answer.whole else None
        except (ValueError, RecursionError) as error:
            raise NoAnswerError(f"{method} was answered with something that is no JSON") from error


def _judged(read: Callable[[Any], Incident | None], answer: Any) -> Incident | None:  # noqa: ANN401 - a JSON value
    """Return what an answer says of an incident; ``NoAnswerError`` when it is not shaped as documented."""
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise NoAnswerError("the answer has not the documented shape") from error


def _made(incident: Incident | None) -> Incident:
    if incident is None:
        raise NoAnswerError("the answer names no incident")
    return incident


class Statuspage:
    """Atlassian Statuspage: https://developer.statuspage.io."""

    def __init__(self, service: _Service) -> None:
        """Keep the service."""
        self._service = service

    @staticmethod
    def _read(row: dict[str, Any]) -> Incident:
        updates = row.get("incident_updates") or [{}]  # the newest first
        message = str(updates[0].get("body") or "").strip()
        return Incident(str(row["id"]), str(row["status"]), message, str(row.get("shortlink") or ""))

    def find(self, mark: str) -> Incident | None:
        """Return the open incident with the mark."""
        rows = self._service.ask("GET", "/incidents/unresolved")
        return _judged(lambda told: next((self._read(row) for row in told if _has(row["name"], mark)), None), rows)

    @staticmethod
    def _body(update: Update) -> dict[str, Any]:
        word = _STATUSPAGE_COMPONENT[_COMPONENTS[update.state]]
        told: dict[str, Any] = {"status": update.state, "body": update.message}
        if update.components:
            told["component_ids"] = list(update.components)
            told["components"] = dict.fromkeys(update.components, word)
        return told

    def create(self, update: Update) -> Incident:
        """Open an incident."""
        told = {"incident": {"name": update.title, **self._body(update)}}
        return _made(_judged(self._read, self._service.ask("POST", "/incidents", told)))

    def move(self, incident: Incident, update: Update) -> Incident:
        """Move an incident on."""
        told = {"incident": self._body(update)}
        return _made(_judged(self._read, self._service.ask("PATCH", f"/incidents/{incident.identity}", told)))


class Instatus:
    """Instatus: https://instatus.com/help/api."""

    def __init__(self, service: _Service) -> None:
        """Keep the service."""
        self._service = service

    @staticmethod
    def _read(row: dict[str, Any]) -> Incident:
        updates = sorted(row.get("updates") or [{}], key=lambda one: str(one.get("started") or ""))
        message = str(updates[-1].get("message") or "").strip()
        return Incident(str(row["id"]), str(row["status"]).lower(), message, "")

    def find(self, mark: str) -> Incident | None:
        """Return the open incident with the mark."""
        rows = self._service.ask("GET", "/incidents?page=1&per_page=50")
        return _judged(
            lambda told: next(
                (self._read(row) for row in told if _has(row["name"], mark) and row["status"] != "RESOLVED"), None
            ),
            rows,
        )

    @staticmethod
    def _body(update: Update) -> dict[str, Any]:
        word = _INSTATUS_COMPONENT[_COMPONENTS[update.state]]
        return {
            "message": update.message, "status": update.state.upper(), "components": list(update.components),
            "statuses": [{"id": one, "status": word} for one in update.components], "notify": True,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip

    def create(self, update: Update) -> Incident:
        """Open an incident."""
        told = {"name": update.title, **self._body(update)}
        return _made(_judged(self._read, self._service.ask("POST", "/incidents", told)))

    def move(self, incident: Incident, update: Update) -> Incident:
        """Add an update to an incident."""
        self._service.ask("POST", f"/incidents/{incident.identity}/incident-updates", self._body(update))
        return incident


class Cachet:
    """Cachet 2 and 3: https://docs.cachethq.io."""

    def __init__(self, service: _Service, version: int) -> None:
        """Keep the service and which version it is."""
        self._service = service
        self._newest = "?per_page=50" if version > 2 else "?sort=id&order=desc&per_page=50"  # noqa: PLR2004 - a version

    @staticmethod
    def _flat(row: dict[str, Any]) -> dict[str, Any]:
        """Return a row of version 3, which is JSON:API, as one of version 2."""
        flat = {**row, **row.get("attributes", {})}
        status = flat.get("status")
        return {**flat, "status": int(status["value"] if isinstance(status, dict) else status or 0)}

    def _read(self, row: dict[str, Any]) -> Incident:
        flat = self._flat(row)
        state = STATES[flat["status"] - 1] if 1 <= flat["status"] <= len(STATES) else ""
        return Incident(
            str(flat["id"]), state, str(flat.get("message") or "").strip(), str(flat.get("permalink") or "")
        )

    def find(self, mark: str) -> Incident | None:
        """Return the open incident with the mark, with what its last update says."""
        rows = self._service.ask("GET", f"/incidents{self._newest}")
        found = _judged(lambda told: next(filter(None, (self._open(row, mark) for row in told["data"])), None), rows)
        if found is None:
            return None
        updates = self._service.ask("GET", f"/incidents/{found.identity}/updates?per_page=50")
        return _judged(lambda told: self._updated(found, told["data"]), updates)

    def _open(self, row: dict[str, Any], mark: str) -> Incident | None:
        flat = self._flat(row)
        resolved = flat["status"] == _CACHET_STATE["resolved"]
        return self._read(row) if _has(flat["name"], mark) and not resolved else None

    def _updated(self, incident: Incident, rows: list[dict[str, Any]]) -> Incident | None:
        """Return an incident as its last update left it; ``None`` when that has resolved it."""
        updates = sorted((self._flat(row) for row in rows), key=lambda row: int(row["id"]))
        if not updates:
            return incident
        told = self._read(updates[-1])
        return None if told.state == "resolved" else incident._replace(state=told.state, message=told.message)

    def create(self, update: Update) -> Incident:
        """Open an incident."""
        told = {
            "name": update.title, "message": update.message, "status": _CACHET_STATE[update.state], "visible": 1,
            "notify": True, "notifications": True,
        }  # fmt: skip
        answer = self._service.ask("POST", "/incidents", told)
        made = _made(_judged(lambda row: self._read(row["data"]), answer))
        self._set_components(update)
        return made

    def move(self, incident: Incident, update: Update) -> Incident:
        """Add an update to an incident; Cachet takes its state over."""
        told = {"message": update.message, "status": _CACHET_STATE[update.state]}
        self._service.ask("POST", f"/incidents/{incident.identity}/updates", told)
        self._set_components(update)
        return incident

    def _set_components(self, update: Update) -> None:
        status = _CACHET_COMPONENT[_COMPONENTS[update.state]]
        for component in update.components:
            self._service.ask("PUT", f"/components/{component}", {"status": status})


def _has(title: object, mark: str) -> bool:
    return str(title).rstrip().endswith(mark)
