# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that speaks JSON-RPC: it answers, follows its chain, and it is the right chain.

The calls are those of https://ethereum.org/en/developers/docs/apis/json-rpc/, unless another is configured.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..http_probe import printable
from .network import answered, certificate, latency, no_answer, web_question, wrong_answer
from .probe import Probe, judged, unknown

if TYPE_CHECKING:
    from datetime import datetime

    from .network import Answer
    from .settings import Dependency

_OK = 200
_REFUSALS = {401: "auth", 403: "auth", 429: "limited"}
_BLOCK = ("eth_getBlockByNumber", ["latest", False])


def questions(one: Dependency, *, reference: bool) -> dict[str, dict[str, Any]]:
    """Return what is asked; of the reference only where it is wanted."""
    calls: dict[str, tuple[str, list[Any]]] = {}
    if one.method:
        calls["call"] = (one.method, list(one.params))
    else:
        calls |= {"height": ("eth_blockNumber", []), "block": _BLOCK, "syncing": ("eth_syncing", [])}
    if one.chain_id is not None:
        calls["chain"] = ("eth_chainId", [])
    asked = {purpose: web_question(one, one.url, _call(*call)) for purpose, call in calls.items()}
    if reference and one.reference_url and not one.method:
        headerless = web_question(one, one.reference_url, _call("eth_blockNumber", []))
        headerless["headers"] = {"Content-Type": "application/json"}  # the others may hold a token
        asked["reference"] = headerless
    return asked


def _call(method: str, params: list[Any]) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def judge(one: Dependency, answers: dict[str, Answer], place: str, now: datetime) -> list[Probe]:
    """Judge what a node answered, at ``now`` by the clock of this host."""
    main = answers["call" if one.method else "height"]
    missing = no_answer(one, main, place)
    if missing:
        return [missing, *certificate(one, main, place, now)]
    value, why, fault = _result(main)
    probes = [wrong_answer(one, main, place, fault, why) if fault else _answers(one, main, place, value)]
    probes += [latency(one, main["seconds"], place), *certificate(one, main, place, now)]
    if probes[0].fault:
        return probes
    if one.chain_id is not None:
        probes.append(_chain(one, answers["chain"], place))
    if not one.method:
        probes += _heights(one, answers, place, now)
    return probes


def _result(answer: Answer) -> tuple[Any, str, str]:
    """Return the result of a call, or why there is none and the word for it."""
    status = answer["status"]
    if status in _REFUSALS:
        return None, f"status {status}", _REFUSALS[status]
    try:
        told = json.loads(answer["body"])
    except (ValueError, RecursionError):
        fault = "garbage" if status == _OK else "status"
        return None, f"status {status}, and no JSON: {printable(answer['body'], 60)!r}", fault
    error = told.get("error") if isinstance(told, dict) else None
    if error:
        words = error.get("message") if isinstance(error, dict) else error
        return None, f"it answers with an error: {printable(str(words), 100)}", "error"
    if not isinstance(told, dict) or "result" not in told:
        return None, f"status {status}, and no answer of JSON-RPC: {printable(answer['body'], 60)!r}", "garbage"
    return told["result"], "", ""


def number(value: object) -> int | None:
    """Return a number that JSON-RPC writes as ``0x10``; nothing when it is none."""
    try:
        return int(value, 16) if isinstance(value, str) and value.startswith("0x") else None
    except ValueError:
        return None


def _answers(one: Dependency, answer: Answer, place: str, value: object) -> Probe:
    if one.method:
        return answered(one, answer, place, f"{one.method} is answered")
    height = number(value)
    if height is None:
        return wrong_answer(one, answer, place, "garbage", f"the height is no number: {printable(str(value), 60)!r}")
    return answered(one, answer, place, f"block {height}")


def _chain(one: Dependency, answer: Answer, place: str) -> Probe:
    limit = f"chain {one.chain_id}"
    missing = no_answer(one, answer, place, "chain")
    if missing:
        return missing
    value, why, _fault = _result(answer)
    chain = number(value)
    if chain is None:
        return unknown(one.name, "chain", why or "its chain is no number", limit=limit, place=place)
    return judged(
        one.name, "chain", chain != one.chain_id, f"chain {chain}", limit=limit, fault="chain", place=place,
        seconds=answer["seconds"],
    )  # fmt: skip


def _heights(one: Dependency, answers: dict[str, Answer], place: str, now: datetime) -> list[Probe]:
    probes = [_age(one, answers["block"], place, now), *_syncing(one, answers["syncing"], place)]
    if "reference" in answers:
        probes.append(_lag(one, answers, place))
    return probes


def _age(one: Dependency, answer: Answer, place: str, now: datetime) -> Probe:
    """Judge how old the newest block is."""
    limit = f"at most {one.limits['max_block_age']:g} s old"
    missing = no_answer(one, answer, place, "newest block")
    if missing:
        return missing
    block, why, _fault = _result(answer)
    moment = number(block.get("timestamp")) if isinstance(block, dict) else None
    if moment is None:
        return unknown(one.name, "newest block", why or "it has no time", limit=limit, place=place)
    age = now.timestamp() - moment
    return judged(
        one.name, "newest block", age > one.limits["max_block_age"], f"{age:.0f} s old", limit=limit, fault="lagging",
        place=place, seconds=answer["seconds"],
    )  # fmt: skip


def _lag(one: Dependency, answers: dict[str, Answer], place: str) -> Probe:
    """Judge how far the node is behind another one."""
    limit = f"at most {one.limits['max_lag']:g} blocks behind the reference"
    reference = answers["reference"]
    other = None if reference["fault"] else number(_result(reference)[0])
    height = number(_result(answers["height"])[0])
    if other is None or height is None:
        why = reference["why"] or "it answers no height"
        return unknown(one.name, "height", f"the reference says nothing: {why}", limit=limit, place=place)
    behind = other - height
    seen = f"block {height}, {behind} behind {other}" if behind > 0 else f"block {height}, the reference {other}"
    return judged(
        one.name, "height", behind > one.limits["max_lag"], seen, limit=limit, fault="lagging", place=place,
        seconds=answers["height"]["seconds"],
    )  # fmt: skip


def _syncing(one: Dependency, answer: Answer, place: str) -> list[Probe]:
    """Judge what the node says of itself, where it says something. ``false`` is that it has caught up."""
    if answer["fault"]:
        return []
    state = _result(answer)[0]
    if not isinstance(state, dict):
        return []
    current, highest = number(state.get("currentBlock")), number(state.get("highestBlock"))
    if current is None or highest is None:
        return []
    limit, behind = one.limits["max_lag"], highest - current
    seen = f"it says that it is catching up: block {current} of {highest}"
    return [
        judged(
            one.name, "sync", behind > limit, seen, limit=f"at most {limit:g} blocks behind", fault="lagging",
            place=place, seconds=answer["seconds"],
        )
    ]  # fmt: skip
