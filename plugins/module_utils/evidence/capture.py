# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A capture of evidence: everything is refused before the first byte, then taken in the order in which it fades."""

from __future__ import annotations

import getpass
import os
import platform
from datetime import datetime, timezone
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..docker_client import connect
from ..errors import RollbackError
from ..exclusive import exclusive
from ..git import Git
from ..journal import is_run_id, stamp, utc_now
from ..waiter import checked_seconds
from . import containers, database, encryption, host, manifest, repository
from .item import Item, refused_option
from .store import MANIFEST, Limits, Store, refuse_small, refuse_unsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..postgres.connection import Login

    LoginOf = Callable[[dict[str, Any]], tuple[Login, str]]

# In the order of volatility: https://www.rfc-editor.org/rfc/rfc3227#section-2.1
GROUPS = ("processes", "network", "database", "containers", "docker", "logs", "changed_files", "file_systems",
          "images", "repository", "project_files", "host")  # fmt: skip
NOT_BY_DEFAULT = ("file_systems",)
_OF_DOCKER = {"containers", "docker", "logs", "changed_files", "file_systems", "images"}
_MEGABYTE = 1 << 20
_TOLD = 50  # findings that a result names; the manifest names all


def evidence_capture(options: dict[str, Any], login_of: LoginOf, *, check: bool) -> dict[str, Any]:
    """Take evidence, seal it, or verify it; with ``check`` say what would be taken and how much room it needs."""
    directory = directory_of(options)
    if options["state"] == "verified":
        return _verified(directory, options["manifest_sha256"])
    result = _captured(directory, options, login_of, check=check)
    after = f"evidence in {directory}\n"
    return {**result, "diff": {"before": "" if result["changed"] else after, "after": after}}


def _captured(directory: Path, options: dict[str, Any], login_of: LoginOf, *, check: bool) -> dict[str, Any]:
    limits = _limits(options)
    brought = _brought(options["brought"])
    receipt = encryption.receipt_of(directory)
    if receipt:
        return _encrypted_before(directory, receipt, options["manifest_sha256"], check=check)
    if options["encrypt"]:
        encryption.refuse_key(options["encrypt"]["tool"], options["encrypt"]["public_key"])
    store = Store(directory, limits)
    if store.sealed:
        return _sealed_before(store, options, check=check)
    _refuse_another_run(store, options)
    items = [one for one in _items(options, limits, login_of) if one.name not in store.ledger.items]
    needed = _needed(items, limits, store.ledger.bytes)
    room = refuse_small(directory, needed * 2 if options["encrypt"] else needed)
    facts = {"directory": str(directory), "needed_bytes": needed, "free_bytes": room.free}
    if check:
        groups = [_planned(group, items, limits) for group in GROUPS if group in options["items"]]
        return {**_result(store, "planned", changed=True), **facts, "groups": groups}
    return {**_take(store, items, options, brought), **facts}


# --- what was typed --------------------------------------------------------------------------------------------------


def directory_of(options: dict[str, Any]) -> Path:
    """Return the directory that is asked for; by default one of the run, where no cleanup looks."""
    if options["directory"]:
        directory = Path(options["directory"])
    elif not is_run_id(options["run_id"]):
        raise refused_option("run_id", options["run_id"], "the id of a run, or directory")
    else:
        directory = Path(options["state_directory"], "evidence", options["run_id"])
    refuse_unsafe(directory)
    return directory


def _limits(options: dict[str, Any]) -> Limits:
    for name in ("max_item_mb", "max_total_mb"):
        if options[name] < 1:
            raise refused_option(name, options[name], "a number of megabytes of at least 1")
    if not options["items"]:
        raise refused_option("items", [], f"one or more of {', '.join(GROUPS)}")
    checked_seconds(options["events_hours"], "events_hours")
    seconds = checked_seconds(options["item_seconds"], "item_seconds", 1)
    if options["controller_time"]:
        _moment(options["controller_time"])
    of_docker = sorted(_OF_DOCKER & set(options["items"]))
    if of_docker and not options["project"]:
        raise refused_option("project", "", f"the Compose project, or leave {', '.join(of_docker)} out of items")
    return Limits(options["max_item_mb"] * _MEGABYTE, options["max_total_mb"] * _MEGABYTE, seconds)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise refused_option("controller_time", text, "a time such as 2024-12-28T01:45:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _brought(options: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    for one in options:
        path = PurePosixPath(one["path"])
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise refused_option("brought.path", one["path"], "a path below directory")
    return {str(PurePosixPath(one["path"])): {"what": one["what"], "by": one["by"]} for one in options}


def _refuse_another_run(store: Store, options: dict[str, Any]) -> None:
    """Refuse to mix what belongs to two runs, or to two projects."""
    for before in store.ledger.attempts[:1]:
        for key in ("project", "run_id"):
            if before.get(key) != (options[key] or ""):
                raise RollbackError(
                    f"{store.directory} holds evidence of {key}={before.get(key)!r}, not of {options[key] or ''!r}. "
                    "Nothing was taken.",
                    "Give another directory.",
                )


# --- what there is to take -------------------------------------------------------------------------------------------


def _items(options: dict[str, Any], limits: Limits, login_of: LoginOf) -> list[Item]:
    """Return everything that is asked for, in the order in which it fades."""
    found = [*_docker_items(options, limits), *_host_items(options, limits, login_of)]
    wanted = [one for one in found if one.group in options["items"]]
    return sorted(wanted, key=lambda one: GROUPS.index(one.group))


def _docker_items(options: dict[str, Any], limits: Limits) -> Iterator[Item]:
    if not options["project"] or not (_OF_DOCKER | {"processes", "network"}) & set(options["items"]):
        return
    client = connect(options["docker_host"])
    subjects = containers.subjects_of(client, options["project"])
    yield from containers.process_items(client, subjects)
    yield from containers.network_items(subjects if not options["docker_host"] else [])
    yield from containers.container_items(client, subjects)
    yield from containers.daemon_items(client, options["project"], options["events_hours"])
    yield from containers.log_items(client, subjects, limits.item)
    yield from containers.file_items(client, subjects, limits.item)
    yield from containers.whole_items(client, subjects)
    yield from containers.image_items(client, subjects)


def _host_items(options: dict[str, Any], limits: Limits, login_of: LoginOf) -> Iterator[Item]:
    yield from host.process_items()
    yield from host.network_items()
    yield from host.login_items(limits.item)
    if options["database"]:
        given = options["database"]
        yield from database.database_items(lambda: login_of(given)[0], given["db"])
    if options["project_directory"]:
        tree = options["project_directory"]
        git_of = cache(lambda: Git(tree, _never))
        yield from repository.git_items(git_of)
        yield from repository.file_items(tree, git_of, limits.item)


def _never(*_words: object, **_more: object) -> tuple[int, str, str]:
    raise NotImplementedError("git is only run as a stream here")


def _needed(items: Iterable[Item], limits: Limits, taken: int) -> int:
    return min(sum(min(one.estimate, limits.item) for one in items), max(0, limits.total - taken))


def _planned(group: str, items: Iterable[Item], limits: Limits) -> dict[str, Any]:
    mine = [one for one in items if one.group == group]
    return {
        "name": group,
        "item_count": len(mine),
        "files": 0,
        "bytes": sum(min(one.estimate, limits.item) for one in mine),
    }


# --- taking ----------------------------------------------------------------------------------------------------------


def _take(
    store: Store, items: list[Item], options: dict[str, Any], brought: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """Take what is not taken yet; alone, because a task goes on when its controller is gone."""
    store.make()
    with exclusive([str(store.directory)]):
        store.reload()
        if store.sealed:  # by the task that we have waited for
            return _sealed_before(store, options, check=False)
        open_items = [one for one in items if one.name not in store.ledger.items]
        changed = bool(open_items) or not store.ledger.attempts
        if changed:
            store.begin(_attempt(options))
        for item in open_items:
            store.take(item)
        if options["state"] == "collected":
            return _result(store, "collected", changed=changed)
        _refuse_absent(store, brought)
        manifest.seal(store, brought, _about(options))
    return _settled(store, options, changed=True)


def _attempt(options: dict[str, Any]) -> dict[str, Any]:
    """Return who takes evidence, where, and how the clock of the host stands to that of the controller."""
    now = utc_now()
    told: dict[str, Any] = {
        "operator": options["operator"], "user": _user(), "host": platform.node(), "run_id": options["run_id"],
        "project": options["project"] or "", "host_time": stamp(now),
    }  # fmt: skip
    if options["controller_time"]:
        moment = _moment(options["controller_time"])
        told["controller_time"] = stamp(moment)
        told["clock_ahead_seconds"] = round((now - moment).total_seconds(), 3)
    return told


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without an entry
        return str(os.geteuid())


def _about(options: dict[str, Any]) -> dict[str, Any]:
    limits = {key: options[key] for key in ("max_item_mb", "max_total_mb", "item_seconds")}
    return {"project": options["project"] or "", "run_id": options["run_id"], "operator": options["operator"],
            "host": platform.node(), "limits": limits}  # fmt: skip


def _refuse_absent(store: Store, brought: dict[str, dict[str, str]]) -> None:
    for name in brought:
        if not (store.directory / name).is_file():
            raise RollbackError(
                f"brought.path={name!r} is not in {store.directory}, so the evidence was not sealed. What was taken is "
                "whole.",
                "Put it there, or take it out of brought; then call again.",
                directory=str(store.directory),
            )  # fmt: skip


# --- afterwards ------------------------------------------------------------------------------------------------------


def _sealed_before(store: Store, options: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Verify a capture that is sealed already, and finish what a kill has left open."""
    told = manifest.read(store.directory)
    manifest.verify(store.directory, told, options["manifest_sha256"])
    if check:
        state = "planned" if options["encrypt"] else "sealed"
        return {**_result(store, state, changed=bool(options["encrypt"])), "directory": str(store.directory)}
    changed = manifest.make_read_only(store.directory)
    return _settled(store, options, changed=changed)


def _settled(store: Store, options: dict[str, Any], *, changed: bool) -> dict[str, Any]:
    """Return a sealed capture; encrypted, when that is asked for."""
    told = manifest.read(store.directory)
    result = {**_result(store, "sealed", changed=changed), **_sums(store.directory, told)}
    if not options["encrypt"]:
        return result
    made = encryption.encrypt(store.directory, told, options["encrypt"]["tool"], options["encrypt"]["public_key"])
    return {**result, "state": "encrypted", "changed": True, "encrypted": _encrypted(made)}


def _encrypted_before(directory: Path, receipt: dict[str, Any], expected: str, *, check: bool = True) -> dict[str, Any]:
    """Verify a capture that is encrypted already; remove what a kill has left of the plain copy."""
    encryption.verify_encrypted(receipt, expected)
    left = directory.exists() if check else encryption.remove_plain(directory)
    return {
        "changed": left, "state": "encrypted", "directory": str(directory), "files": receipt["files"],
        "bytes": receipt["plain_bytes"], "manifest_sha256": receipt["manifest_sha256"], "groups": [], "not_taken": [],
        "attempts": 0, "encrypted": _encrypted(receipt),
    }  # fmt: skip


def _encrypted(receipt: dict[str, Any]) -> dict[str, Any]:
    return {key: receipt[key] for key in ("path", "sha256", "bytes", "tool")}


def _verified(directory: Path, expected: str) -> dict[str, Any]:
    """Verify a capture, plain or encrypted, and change nothing."""
    receipt = encryption.receipt_of(directory)
    if receipt:
        return {**_encrypted_before(directory, receipt, expected), "changed": False}
    told = manifest.read(directory)
    manifest.verify(directory, told, expected)
    return {
        "changed": False, "state": "sealed", "directory": str(directory), "groups": [],
        "attempts": len(told["attempts"]), "not_taken": told["not_taken"][:_TOLD], **_sums(directory, told),
    }  # fmt: skip


def _sums(directory: Path, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "manifest": str(directory / MANIFEST), "manifest_sha256": told["sha256"], "files": len(told["files"]),
        "bytes": sum(one["bytes"] for one in told["files"]), "started": told["started"], "ended": told["ended"],
    }  # fmt: skip


def _result(store: Store, state: str, *, changed: bool) -> dict[str, Any]:
    """Return what a caller may know: counts and sizes, never content."""
    lines = list(store.ledger.items.values())
    groups = []
    for group in GROUPS:
        mine = [line for line in lines if line["group"] == group]
        files = [file for line in mine for file in line["files"]]
        if mine:
            groups.append({"name": group, "item_count": len(mine), "files": len(files),
                           "bytes": sum(file["bytes"] for file in files)})  # fmt: skip
    lacking = manifest.not_taken(store)
    return {
        "changed": changed, "state": state, "directory": str(store.directory), "groups": groups,
        "files": len(store.ledger.files), "bytes": store.ledger.bytes, "attempts": len(store.ledger.attempts),
        "not_taken": lacking[:_TOLD], "not_taken_count": len(lacking),
    }  # fmt: skip
