# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A maintenance page in the place of a stopped application: on the same ports, from one small container.

A new page is only started when all that it needs was seen, and an earlier one comes back when it does not answer.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .docker_client import WORKING_DIRECTORY_LABEL
from .errors import RollbackError
from .exclusive import exclusive
from .http_probe import printable
from .maintenance_check import wrong_at
from .maintenance_container import Page, Served, image_id_of, last_words, look_at, make, pages_of, remove
from .maintenance_content import html_page
from .maintenance_plan import PageRequest, Plan, make_plan
from .maintenance_ports import Port, container_holders, container_id_of, process_holders, process_name
from .project import ALIVE, API_ERRORS, containers_of, in_parallel
from .waiter import checked_seconds, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker.client import DockerClient

STATES = ("served", "removed", "status")
_INTERVAL = 0.2
# A page that ended so often right after its start does not come up by waiting.
_HOPELESS_RESTARTS = 3
_SECONDS_OF_A_QUESTION = 5.0
_UNTOUCHED = "The application stays as it is."


def maintenance_page(client: DockerClient, request: PageRequest, *, check_mode: bool) -> dict[str, Any]:
    """Serve or remove the page, or say how it stands; return the result of the module.

    Check mode plans by the same code from the same snapshot, and changes nothing.
    """
    checked_seconds(request.timeout, "timeout", 0.5)
    begin = time.monotonic()
    try:
        result = _carry_out(client, request, check_mode=check_mode)
    except API_ERRORS as error:
        raise RollbackError(
            f"The Docker daemon refused: {printable(str(error), 400)}. {_UNTOUCHED}",
            "See what is there with the same options and state: status, and look at the daemon's log.",
        ) from error
    return result | {"state": request.state, "seconds": round(time.monotonic() - begin, 2)}


def _carry_out(client: DockerClient, request: PageRequest, *, check_mode: bool) -> dict[str, Any]:
    """Do what the state asks for, while nobody else changes containers of the project."""
    if request.state == "status":
        return _status(client, request)
    work = _serve if request.state == "served" else _remove
    if check_mode:
        return work(client, request, check_mode=True)
    containers = containers_of(client, request.project)
    with exclusive({one.labels.get(WORKING_DIRECTORY_LABEL, "") for one in containers}):
        return work(client, request, check_mode=False)


def _serve(client: DockerClient, request: PageRequest, *, check_mode: bool) -> dict[str, Any]:
    """Serve the page that is asked for, and see that it answers."""
    plan = make_plan(client, request, check_mode=check_mode)
    current = plan.current
    if current is not None and not any(_wrong(current).values()):
        strays = [one for one in plan.present if one.id != current.id]
        if not check_mode:
            _remove_all(client, strays)
        return _result(plan, current, changed=bool(strays))
    _refuse_taken_ports(client, plan, request, check_mode=check_mode)
    if check_mode:
        return _result(plan, None, changed=True)
    _fetch_image(client, request)
    return _result(plan, _replace(client, plan, request.timeout), changed=True)


def _remove_all(client: DockerClient, pages: Sequence[Served]) -> None:
    for one in pages:
        remove(client, one.id)


def _refuse_taken_ports(client: DockerClient, plan: Plan, request: PageRequest, *, check_mode: bool) -> None:
    """Refuse ports that something else holds. Held by a page that is replaced is free."""
    chosen = containers_of(client, request.project) if request.assume_stopped and check_mode else []
    ours = {one.id for one in plan.present} | {one.id for one in chosen if one.service in request.services}
    held = {port for one in plan.present if one.state in ALIVE for port in one.ports}
    passing = {port for port in plan.page.ports if any(port.port == other.port for other in held)}
    if chosen:
        passing |= set(plan.page.ports)  # the processes that listen now are those of services that will be stopped
    taken = _holders(client, plan.page.ports, ours, [port for port in plan.page.ports if port not in passing])
    if taken:
        raise RollbackError(
            f"Ports of the page are taken: {'; '.join(taken)}. Nothing was changed.",
            "End what holds them, or name other ports with ports, then run again.",
            holders=taken,
        )


def _holders(client: DockerClient, ports: Sequence[Port], ours: set[str], scanned: Sequence[Port]) -> list[str]:
    """Return who holds the ports: containers, and processes of this host at those that are scanned."""
    containers = container_holders(client.api.containers(), ports, ours)
    processes = process_holders([port for port in scanned if port not in containers])
    taken = [f"the container {name} holds {port}" for port, names in containers.items() for name in names]
    for port, pids in processes.items():
        who = ", ".join(_process(client, pid) for pid in pids) or "a process that this user may not see"
        taken.append(f"{who} holds {port}")
    return taken


def _process(client: DockerClient, pid: int) -> str:
    """Return what a process is: the container it belongs to, or its name."""
    container_id = container_id_of(pid)
    if container_id:
        try:
            return f"the container {client.api.inspect_container(container_id)['Name'].lstrip('/')}"
        except API_ERRORS:
            pass  # another daemon's, or none of Docker
    return process_name(pid)


def _replace(client: DockerClient, plan: Plan, timeout: float) -> Served:
    """Start the page in the place of an earlier one, which comes back when the new one does not answer.

    One that is the same, and runs without answering, does not come back.
    """
    others = (one for one in plan.present if one.state == "running" and one.marker != plan.page.marker)
    earlier = next(others, None)
    _remove_all(client, [one for one in plan.present if one is not earlier])
    made = ""
    try:
        made = make(client, _with_image(client, plan.page))
        if earlier is not None:
            client.api.stop(earlier.id, timeout=1)
        client.api.start(made)
        current = _started(client, made)
        _answers_or_fail(client, current, timeout, _left(earlier))
    except BaseException as error:
        _go_back(client, made, earlier)
        if isinstance(error, API_ERRORS):
            raise _not_started(error, earlier) from error
        raise
    if earlier is not None:
        remove(client, earlier.id)
    return _started(client, made)


def _with_image(client: DockerClient, page: Page) -> Page:
    """Return the page with the id of its image, which is known only now when it was pulled."""
    return page if page.image_id.startswith("sha256:") else replace(
        page, image_id=image_id_of(client, page.image) or page.image_id
    )  # fmt: skip


def _fetch_image(client: DockerClient, request: PageRequest) -> None:
    """Pull the image that was named when it is not there and that was asked for."""
    if not request.image or image_id_of(client, request.image) is not None:
        return
    try:
        client.images.pull(request.image)
    except API_ERRORS as error:
        raise RollbackError(
            f"The image {request.image!r} could not be pulled: {printable(str(error))}. Nothing was changed.",
            "Choose one that 'docker image ls' shows on that host.",
        ) from error


def _go_back(client: DockerClient, made: str, earlier: Served | None) -> None:
    if made:
        remove(client, made)
    if earlier is not None:
        client.api.start(earlier.id)


def _answers_or_fail(client: DockerClient, current: Served, timeout: float, left: str) -> None:
    """Wait until every port answers with the page; fail with what is wrong at which port when one does not.

    ``left`` says what is served after that.
    """

    def asked() -> tuple[bool, tuple[list[str], Served | None]]:
        wrong = [f"{port}: {found}" for port, found in _wrong(current).items() if found]
        return not wrong, (wrong, look_at(client, current.id) if wrong else current)

    def hopeless(seen: tuple[list[str], Served | None]) -> bool:
        return seen[1] is None or seen[1].state == "exited" or seen[1].restarts >= _HOPELESS_RESTARTS

    good, (wrong, now), seconds = wait_for(asked, timeout, _INTERVAL, hopeless=hopeless)
    if good:
        return
    words = last_words(client, current.id)
    raise RollbackError(
        f"The maintenance page does not answer as it must after {seconds:.0f} s: {'; '.join(wrong)}. Its container is "
        f"{now.state if now else 'gone'}{', and said last: ' + words if words else ''}. {left} {_UNTOUCHED}",
        "Look at the reason above. With an image of your own see that it has nginx, or that your command serves at "
        "MAINTENANCE_PORT with the headers Retry-After and X-Maintenance-Page.",
        wrong=wrong,
    )


def _not_started(error: Exception, earlier: Served | None) -> RollbackError:
    return RollbackError(
        f"The Docker daemon did not start the maintenance page: {printable(str(error), 400)}. "
        f"{_left(earlier)} {_UNTOUCHED}",
        "If a port is taken, end what holds it. If 'nginx' was not found, name an image that has it, or a command.",
    )


def _left(earlier: Served | None) -> str:
    return "The earlier page is served again." if earlier else "Nothing of it is left."


def _started(client: DockerClient, container_id: str) -> Served:
    """Return a page container that was started just now."""
    found = look_at(client, container_id)
    if found is None:
        raise RollbackError("Somebody removed the container of the maintenance page meanwhile.", "Run again.")
    return found


def _remove(client: DockerClient, request: PageRequest, *, check_mode: bool) -> dict[str, Any]:
    """Take every page of the project away, and see that its ports are free."""
    present = pages_of(client, request.project)
    ports = sorted({port for one in present for port in one.ports})
    if not check_mode:
        _remove_all(client, present)
        _free_or_fail(client, ports, request.timeout)
    before = next((one for one in present if one.state == "running"), present[0] if present else None)
    return {
        "changed": bool(present), "served": False, "container": {}, "marker": "", "page": {}, "answers": [],
        "ports": [port.facts() for port in ports], "closed": [], "warnings": [],
        "diff": {"before": _shown(before.page) if before else {}, "after": {}},
    }  # fmt: skip


def _free_or_fail(client: DockerClient, ports: Sequence[Port], timeout: float) -> None:
    """Wait until nothing holds the ports of a page that was removed; fail and say what does."""

    def free() -> tuple[bool, list[str]]:
        taken = _holders(client, ports, set(), ports)
        return not taken, taken

    good, taken, _seconds = wait_for(free, timeout, _INTERVAL) if ports else (True, [], 0.0)
    if not good:
        raise RollbackError(
            f"The maintenance page is removed, but its ports are not free: {'; '.join(taken)}.",
            "End what holds them before the application is started.",
            holders=taken,
        )


def _status(client: DockerClient, request: PageRequest) -> dict[str, Any]:
    """Say what is served, and whether it answers."""
    present = pages_of(client, request.project)
    running = next((one for one in present if one.state == "running"), None)
    seen = running or (present[0] if present else None)
    answers = _answers(running) if running else []
    idle = [one for one in present if one.state != "running"]
    warnings = [f"The page container {one.name} does not run ({one.state})." for one in idle]
    warnings += [f"The page is not served at {one['url']}: {one['wrong']}" for one in answers if one["wrong"]]
    return {
        "changed": False, "served": running is not None and not any(one["wrong"] for one in answers),
        "container": seen.facts() if seen else {}, "marker": seen.marker if seen else "",
        "page": dict(seen.page) if seen else {}, "answers": answers,
        "ports": [port.facts() for port in seen.ports] if seen else [], "closed": [], "warnings": warnings,
        "diff": {"before": {}, "after": {}},
    }  # fmt: skip


def _wrong(current: Served) -> dict[Port, str]:
    """Return what is wrong at each port of a page; an empty text when nothing is."""
    wrong = in_parallel(lambda port: wrong_at(port, current.marker, _SECONDS_OF_A_QUESTION), current.ports)
    return dict(zip(current.ports, wrong))


def _answers(current: Served) -> list[dict[str, Any]]:
    return [{"url": port.url, "wrong": wrong} for port, wrong in _wrong(current).items()]


def _result(plan: Plan, current: Served | None, *, changed: bool) -> dict[str, Any]:
    answers = _answers(current) if current else []
    before = next((one for one in plan.present if one.state == "running"), None)
    return {
        "changed": changed,
        "served": current is not None and not any(one["wrong"] for one in answers),
        "container": current.facts() if current else {},
        "marker": plan.page.marker,
        "page": plan.page.facts(),
        "ports": [port.facts() for port in plan.page.ports],
        "closed": [port.facts() for port in plan.closed],
        "answers": answers,
        "html": html_page(plan.page.words),
        "warnings": list(plan.warnings),
        "diff": {"before": _shown(before.page) if before else {}, "after": _shown(plan.page.facts())},
    }


def _shown(page: Any) -> dict[str, Any]:  # noqa: ANN401 - of a label
    """Return a page for a diff, with its ports as words."""
    ports = [f"{one['address'] or '*'}:{one['port']}{' TLS' if one['tls'] else ''}" for one in page.get("ports", [])]
    return {**page, "ports": ports}
