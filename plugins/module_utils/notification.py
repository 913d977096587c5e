# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to people, through the library Apprise: to all notifiers at once, and within one deadline.

Each notifier is a process of its own, which is killed at the deadline: a receiver that accepts and never answers, or
sends its answer letter by letter, cannot hold up who waits, nor send later what was meanwhile kept for sending later.
Nothing that a service or the library says is shown, because URLs and headers stand in it; it is only recognised.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from . import outbox
from .border import plain
from .errors import RollbackError
from .http_probe import printable
from .journal import stamp, utc_now
from .outbox import Kept, Message
from .waiter import checked_seconds

try:
    import apprise
except ImportError:
    apprise = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import ForkProcess

AUDIENCES = ("team", "users", "stakeholders")
SEVERITIES = ("info", "success", "warning", "failure")
SENT, KEPT, FAILED, PLANNED = "sent", "kept", "failed", "planned"
SUBJECT_LIMIT = 200
BODY_LIMIT = 8000
NAME_LIMIT = 60
_PAUSE = 0.5  # before a retry, in seconds
_MARGIN = 0.2  # a service that is given up a moment before the deadline can still say why
_SCHEMA = re.compile(r"([a-z][a-z0-9+.-]{0,20})://", re.IGNORECASE)
# What is recognised in what the library says, the first that fits.
_REASONS = (
    (re.compile(r"certificate.?verify.?failed|CERTIFICATE", re.IGNORECASE), "its TLS certificate is not valid"),
    (re.compile(r"connection refused", re.IGNORECASE), "connection refused"),
    (re.compile(r"timed? ?out", re.IGNORECASE), "no answer in time"),
    (re.compile(r"name or service not known|name resolution|getaddrinfo|resolve host", re.IGNORECASE), "unknown host"),
    (re.compile(r"no route to host|network is unreachable", re.IGNORECASE), "the network does not lead there"),
    (re.compile(r"SSLError|\[SSL|SSL:"), "no TLS connection"),
    (re.compile(r"connection (?:reset|aborted)|unexpectedly closed", re.IGNORECASE), "the connection broke off"),
)
_STATUS = re.compile(r"\berror ?= ?([1-5]\d\d)\b|\(([45]\d\d), b['\"]|HTTP (?:status )?([1-5]\d\d)\b")


class Notifier(NamedTuple):
    """Where messages go: its name, its URL (a secret), and who reads there."""

    name: str
    url: str
    audiences: tuple[str, ...]


class Delivery(NamedTuple):
    """One message for one notifier; ``kept`` when it comes from the outbox."""

    notifier: Notifier
    message: Message
    kept: Kept | None = None


@dataclass
class Sender:
    """The process that sends to one notifier. ``whys`` holds why, for each message that is decided; empty if sent."""

    deliveries: list[Delivery]
    process: ForkProcess
    answers: Connection
    whys: list[str] = field(default_factory=list)


def notify(options: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Send messages, or those that were kept; with ``check`` only say which. Bad input is refused in both."""
    notifiers = [_notifier(option) for option in options["notifiers"]]
    _refuse_wrong(notifiers)
    timeout = checked_seconds(options["timeout"], "timeout", 0.5)
    if not 0 <= options["retries"] <= 5:  # noqa: PLR2004 - more is not brief
        raise _refused("retries", options["retries"], "a number from 0 to 5")
    if options["state"] == "kept_sent":
        return _send_kept(notifiers, options, timeout, check=check)
    messages = [_message(option, options["run_id"]) for option in options["messages"]]
    deliveries = [
        Delivery(notifier, message) for message in messages for notifier in notifiers
        if message.audience in notifier.audiences
    ]  # fmt: skip
    if check:
        return _result([_told(delivery, PLANNED, "") for delivery in deliveries], changed=bool(deliveries))
    whys = send(deliveries, timeout, options["retries"])
    told = [_accounted(one, why, options["outbox"]) for one, why in zip(deliveries, whys)]
    return _result(told, changed=bool(told), where=options["outbox"])


def _send_kept(notifiers: list[Notifier], options: dict[str, Any], timeout: float, *, check: bool) -> dict[str, Any]:
    """Send what the outbox holds; a message leaves it when it was delivered, not before."""
    directory = options["outbox"]
    if not directory:
        raise _refused("outbox", "", "the directory that holds the kept messages")
    by_name = {notifier.name: notifier for notifier in notifiers}
    told: list[dict[str, Any]] = []
    with outbox.taken(directory) as alone:
        kept, strange = outbox.kept_in(directory) if alone else ([], [])
        known = [Delivery(by_name[one.notifier], one.message, one) for one in kept if one.notifier in by_name]
        for one in kept:
            if one.notifier not in by_name:
                nobody = Delivery(Notifier(one.notifier, "", ()), one.message, one)
                told.append(_told(nobody, KEPT, "no notifier of this name is given"))
        whys = [] if check else send(known, timeout, options["retries"])
        told += [_told(one, PLANNED, "") for one in known] if check else []
        told += [_accounted(one, why, directory) for one, why in zip(known, whys)]
    result = _result(told, changed=any(one["state"] in {SENT, PLANNED} for one in told), where=directory)
    result["warnings"] += [f"{name} in {directory} holds no message, it is left there." for name in strange]
    result["busy"] = not alone
    result["warnings"] += [] if alone else [f"Another process is sending what {directory} holds; nothing was sent."]
    return result


# --- what was typed --------------------------------------------------------------------------------------------------


def _notifier(option: dict[str, Any]) -> Notifier:
    return Notifier(str(option["name"]), str(option["url"]).strip(), tuple(option["audiences"]))


def _refuse_wrong(notifiers: list[Notifier]) -> None:
    """Refuse names that are not told apart, and URLs that Apprise cannot use; never show a URL."""
    if apprise is None:
        raise RollbackError(
            "The Python library apprise, which sends the messages, is missing on the controller. Nothing was sent.",
            "Install it for the Python that runs Ansible there: pip install 'apprise>=2.3'. "
            "Or name no notifiers (rollback_notifiers).",
        )
    logging.getLogger("apprise").propagate = False  # what it logs holds URLs
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    names = [notifier.name for notifier in notifiers]
    for name in names:
        if not name.strip() or len(name) > NAME_LIMIT or not name.isprintable() or names.count(name) > 1:
            raise _refused("notifiers.name", name, f"names that differ, of 1 to {NAME_LIMIT} printable characters")
    for notifier in notifiers:
        if not notifier.audiences:
            raise _refused(f"notifiers[{notifier.name}].audiences", [], f"one or more of {', '.join(AUDIENCES)}")
        if apprise.Apprise.instantiate(notifier.url) is None:
            schema = _SCHEMA.match(notifier.url)
            what = f"of the schema {schema[1].lower()!r}" if schema else "without a schema"
            raise RollbackError(
                f"The URL of the notifier {notifier.name!r}, {what}, is none that Apprise can use. Nothing was sent.",
                "Give a whole URL of a service that Apprise knows, for example slack://, workflows:// (Teams), "
                "pagerduty:// or mailtos://. See https://appriseit.com/services/.",
            )


def _message(option: dict[str, Any], run_id: str) -> Message:
    """Return a message; the run id stands in its subject, so that all of a run can be found together."""
    subject = printable(option["subject"].strip(), SUBJECT_LIMIT)
    if not subject:
        raise _refused("messages.subject", option["subject"], "a text")
    if run_id and run_id not in subject:
        subject = f"{subject} [{printable(run_id, NAME_LIMIT)}]"
    body = plain(option["body"])
    body = body if len(body) <= BODY_LIMIT else body[: BODY_LIMIT - 1] + "…"
    written = stamp(utc_now())
    return Message(option["audience"], subject, body, option["severity"], printable(run_id, NAME_LIMIT), written)


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(f"{option}={value!r} is not accepted. Nothing was sent.", f"Give {accepted}.")


# --- the result ------------------------------------------------------------------------------------------------------


def _told(delivery: Delivery, state: str, why: str) -> dict[str, Any]:
    message = delivery.message
    return {
        "notifier": delivery.notifier.name, "audience": message.audience, "subject": message.subject, "state": state,
        "why": why, "written": message.written,
    }  # fmt: skip


def _accounted(delivery: Delivery, why: str, directory: str) -> dict[str, Any]:
    """Return what became of a message; keep one that was not delivered, take one out of the outbox that was."""
    if not why:
        if delivery.kept:
            delivery.kept.path.unlink(missing_ok=True)
        return _told(delivery, SENT, "")
    if delivery.kept:
        return _told(delivery, KEPT, why)
    if not directory:
        return _told(delivery, FAILED, f"{why}; no outbox is given")
    try:
        outbox.keep(directory, delivery.notifier.name, delivery.message)
    except OSError as error:
        return _told(delivery, FAILED, f"{why}; it could not be kept: {error.strerror or printable(str(error))}")
    return _told(delivery, KEPT, why)


def _result(told: list[dict[str, Any]], *, changed: bool, where: str = "") -> dict[str, Any]:
    warnings = [
        f"{one['notifier']} did not get {one['subject']!r}: {one['why']}. "
        + (f"The message is kept in {where}." if one["state"] == KEPT else "The message is not kept.")
        for one in told
        if one["state"] in {KEPT, FAILED}
    ]
    return {"changed": changed, "messages": told, "outbox": where, "warnings": warnings}


# --- sending ---------------------------------------------------------------------------------------------------------


def send(deliveries: Sequence[Delivery], timeout: float, retries: int) -> list[str]:
    """Send all within ``timeout`` seconds; return why each was not delivered, an empty text for one that was.

    The messages of a notifier go one after the other, in their order; notifiers do not wait for each other.
    """
    deadline = time.monotonic() + timeout
    names = list(dict.fromkeys(delivery.notifier.name for delivery in deliveries))
    senders = [_started([one for one in deliveries if one.notifier.name == name], deadline, retries) for name in names]
    try:
        _listen(senders, deadline)
    finally:
        for sender in senders:
            sender.process.kill()
            sender.process.join()
            sender.answers.close()
    late = f"no answer within {timeout:g} seconds"
    found = {id(one): why for sender in senders for one, why in zip(sender.deliveries, sender.whys)}
    return [found.get(id(delivery), late) for delivery in deliveries]


def _started(deliveries: list[Delivery], deadline: float, retries: int) -> Sender:
    context = multiprocessing.get_context("fork")
    answers, said = context.Pipe(duplex=False)
    process = context.Process(target=_send_one_by_one, args=(deliveries, deadline, retries, said), daemon=True)
    process.start()
    said.close()
    return Sender(deliveries, process, answers)


def _listen(senders: list[Sender], deadline: float) -> None:
    """Take what the senders say, until all is decided or the time is over."""
    open_ones = {sender.answers: sender for sender in senders}
    while open_ones and time.monotonic() < deadline:
        for answers in wait(list(open_ones), max(0.0, deadline - time.monotonic())):
            sender = open_ones[answers]  # type: ignore[index]
            try:
                sender.whys.append(str(sender.answers.recv()))
            except (EOFError, OSError):
                # It ended before its time: a plugin of the library crashed.
                sender.whys += ["the sending process ended"] * (len(sender.deliveries) - len(sender.whys))
            if len(sender.whys) >= len(sender.deliveries):
                del open_ones[sender.answers]


def _send_one_by_one(deliveries: list[Delivery], deadline: float, retries: int, said: Connection) -> None:
    """Send the messages of one notifier; this is the child process."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)  # the result of the module is all that it may print
    for delivery in deliveries:
        said.send(_tried(delivery, deadline, retries))


def _tried(delivery: Delivery, deadline: float, retries: int) -> str:
    """Try to deliver a message, again after a moment when it fails; return why it could not be, or an empty text."""
    why = "there was no time left for it"
    for attempt in range(retries + 1):
        left = deadline - _MARGIN - time.monotonic()
        if left <= (_PAUSE if attempt else 0):
            break
        time.sleep(_PAUSE if attempt else 0)
        why = _delivered(delivery, deadline - _MARGIN - time.monotonic())
        if not why:
            break
    return why


def _delivered(delivery: Delivery, seconds: float) -> str:
    """Hand a message to its service; return why it was not taken, or an empty text."""
    asset = apprise.AppriseAsset(app_id="usdx.rollback", app_desc="usdx.rollback", async_mode=False)
    service: Any = apprise.Apprise.instantiate(delivery.notifier.url, asset=asset)
    service.socket_connect_timeout = service.socket_read_timeout = max(0.1, seconds)
    _thread(service, delivery.message.run_id)
    heard = _Heard()
    logger = logging.getLogger("apprise")
    logger.addHandler(heard)
    logger.setLevel(logging.DEBUG)
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    message = delivery.message
    plain_text = apprise.NotifyFormat.TEXT
    try:
        done = bool(sender.notify(_dated(delivery), message.subject, message.severity, body_format=plain_text))
    except Exception as error:  # noqa: BLE001 - a plugin of the library may raise anything; it must not end the run
        heard.lines.append(f"{type(error).__name__}: {error}")
        done = False
    finally:
        logger.removeHandler(heard)
    return "" if done else _reason(heard.lines)


def _thread(service: Any, run_id: str) -> None:  # noqa: ANN401 - a plugin of the library
    """Tie the messages of a run together, where the service can."""
    if not run_id:
        return
    if hasattr(service, "dedup") and not service.dedup:  # PagerDuty: one incident, which a success resolves
        service.dedup = run_id
    if "mail" in str(getattr(service, "protocol", "")) and isinstance(getattr(service, "headers", None), dict):
        root = f"<{run_id}@usdx.rollback>"
        for header in ("References", "In-Reply-To"):
            service.headers.setdefault(header, root)


def _dated(delivery: Delivery) -> str:
    """Return the text of a message; one that comes late says from when it is."""
    message = delivery.message
    if not delivery.kept:
        return message.body
    return f"This message comes late, it was written at {message.written[:19]}Z.\n\n{message.body}"


class _Heard(logging.Handler):
    """What the library says while it sends."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self.lines.append(record.getMessage()[:2000])


def _reason(lines: list[str]) -> str:
    """Return why a service took no message, in words of ours: what the library says holds addresses and tokens."""
    for line in lines:
        status = _STATUS.search(line)
        if status:
            return f"answered {next(filter(None, status.groups()))}"
    text = "\n".join(lines)
    return next((reason for pattern, reason in _REASONS if pattern.search(text)), "the service did not take it")
