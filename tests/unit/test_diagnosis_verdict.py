# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict of a diagnosis: the root cause among what fails, whether a rollback helps, and what to do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis.causes import (
    Needed,
    Surroundings,
    with_users_first,
)
from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis.probe import Probe
from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis.verdict import (
    HELPS,
    HELPS_NOT,
    UNCLEAR,
    Release,
    verdict,
)
from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis_text import (
    diagnosis_lines,
    diagnosis_refusal,
    short_diagnosis,
)

KNOWN = Surroundings(
    needed=(
        Needed("database", "postgres", "db", "db", ("webapp", "indexer")),
        Needed("cache", "redis", "redis", "redis", ("webapp",)),
        Needed("rpc", "rpc", "rpc.example.com", "", ("indexer",), "RPC_URL", has_backup=True),
        Needed("bank", "http", "bank.example.com", "", ("webapp",)),
    ),
    application=("webapp", "indexer", "nginx"),
    keep=("db", "redis"),
    depends_on={"nginx": ("webapp",), "webapp": ("db", "redis"), "indexer": ("db",)},
)


def bad(component: str, fault: str, kind: str = "answers", place: str = "host", **more: Any) -> dict[str, Any]:
    return Probe(component, kind, "failed", f"{fault} was seen", fault=fault, place=place, **more).facts()


def good(component: str, kind: str = "answers", place: str = "host") -> dict[str, Any]:
    return Probe(component, kind, "passed", "it is well", place=place).facts()


def unknown(component: str, kind: str = "answers", place: str = "host") -> dict[str, Any]:
    return Probe(component, kind, "inconclusive", "it cannot be seen", place=place).facts()


# Everything that is needed answers, from everywhere.
WELL = [
    good("Docker daemon"),
    *(good(one.name) for one in KNOWN.needed),
    *(good(one.name, place=place) for one in KNOWN.needed for place in one.used_by),
    *(good(service, "container") for service in ("db", "redis", "webapp", "indexer", "nginx")),
    good("rpc (backup)"),
    good("rpc (backup)", place="indexer"),
]


def told(*failed: dict[str, Any], release: Release | None = None, known: Surroundings = KNOWN) -> dict[str, Any]:
    """Return the verdict when these probes take the place of those that pass."""
    keys = {(one["component"], one["kind"], one["from"]) for one in failed}
    rest = [one for one in WELL if (one["component"], one["kind"], one["from"]) not in keys]
    return verdict(with_users_first([*rest, *failed]), known, release or Release(), "shop")


def everywhere(name: str, fault: str) -> list[dict[str, Any]]:
    """Return the failed probes of a dependency that nobody reaches."""
    users = next(one.used_by for one in KNOWN.needed if one.name == name)
    return [bad(name, fault, place=place) for place in ("host", *users)]


def cause(found: dict[str, Any]) -> tuple[str, str]:
    return found["cause"]["component"], found["cause"]["fault"]


# --- no cause ---------------------------------------------------------------------------------------------------------


def test_nothing_fails() -> None:
    found = told()
    assert (found["verdict"], found["cause"], found["action"]["kind"]) == (UNCLEAR, None, "none")
    assert told(release=Release(changed_recently=True))["verdict"] == UNCLEAR


def test_nothing_fails_and_the_errors_began_with_the_release() -> None:
    found = told(release=Release(began_with_it=True, previous="v1.0.2"))
    assert (found["verdict"], found["action"]["kind"]) == (HELPS, "roll_back")
    assert "version=v1.0.2" in found["action"]["command"]


def test_what_is_not_known_is_no_reason_to_say_that_a_rollback_helps() -> None:
    nothing = [unknown(one.name) for one in KNOWN.needed]
    found = verdict(nothing, KNOWN, Release(began_with_it=True), "shop")
    assert (found["verdict"], found["cause"]) == (UNCLEAR, None)
    assert len(found["unknown"]) == len(KNOWN.needed)


@pytest.mark.parametrize("fault", ["pressure"])
def test_a_busy_host_is_no_cause_while_nothing_suffers(fault: str) -> None:
    assert told(bad("cpu", fault, "pressure"))["cause"] is None
    found = told(bad("cpu", fault, "pressure"), bad("application", "slow", "endpoint"))
    assert cause(found) == ("cpu", "pressure")
    wrong = told(bad("cpu", fault, "pressure"), bad("application", "status", "endpoint"))
    assert cause(wrong) == ("application", "status")
    assert any(line.startswith("The host is busy") for line in wrong["evidence"])


# --- what follows from what -------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_explains_the_database_and_all_that_needs_it() -> None:
    found = told(
        bad("disk /", "full", "disk", affects=("*",)),
        bad("db", "crash loop", "container"),
        bad("database", "refused"),
        bad("webapp", "unhealthy", "container"),
        bad("application", "status", "endpoint"),
    )
    assert cause(found) == ("disk /", "full")
    assert len(found["causes"]) == 1
    assert found["cause"]["explains"] == ["application", "database", "webapp"]
    assert (found["verdict"], found["action"]["kind"]) == (HELPS_NOT, "free_disk")


def test_a_full_disk_of_one_service_explains_that_one_only() -> None:
    found = told(
        bad("disk redis:/data", "full", "disk", affects=("redis",)), bad("cache", "misconf", "persistence"),
        bad("rpc", "lagging", "newest block"),
    )  # fmt: skip
    assert [one["component"] for one in found["causes"]] == ["disk redis:/data", "rpc"]


def test_a_disk_that_is_nearly_full_explains_nothing() -> None:
    found = told(bad("disk /", "nearly full", "disk", affects=("*",)), bad("cache", "stopped"))
    assert cause(found) == ("cache", "stopped")


def test_a_dead_database_explains_the_services_that_use_it_and_those_that_need_them() -> None:
    found = told(
        bad("db", "stopped", "container"), bad("database", "stopped"), bad("indexer", "crash loop", "container"),
        bad("webapp", "unhealthy", "container"), bad("nginx", "unhealthy", "container"),
    )  # fmt: skip
    assert cause(found) == ("database", "stopped")
    assert found["cause"]["explains"] == ["indexer", "nginx", "webapp"]
    assert (found["action"]["kind"], found["action"]["service"]) == ("start_service", "db")
    assert len(found["causes"]) == 1


def test_a_service_that_does_not_use_what_fails_is_a_cause_of_its_own() -> None:
    found = told(*everywhere("cache", "timeout"), bad("indexer", "crash loop", "container"))
    assert [one["component"] for one in found["causes"]] == ["cache", "indexer"]


def test_slowness_does_not_explain_a_crash() -> None:
    found = told(bad("database", "slow", "latency"), bad("webapp", "crash loop", "container"))
    assert cause(found) == ("webapp", "crash loop")
    assert cause(told(bad("database", "slow", "latency"), bad("application", "slow", "endpoint"))) == (
        "database",
        "slow",
    )


def test_a_wrong_clock_explains_certificates_and_old_blocks() -> None:
    found = told(
        bad("clock", "clock", "offset", affects=("*",)), bad("bank", "tls"), bad("rpc", "lagging", "newest block")
    )
    assert cause(found) == ("clock", "clock")
    assert found["cause"]["explains"] == ["bank", "rpc"]


def test_a_daemon_that_is_dead_explains_everything_that_runs_on_it() -> None:
    found = told(bad("Docker daemon", "refused"), bad("application", "refused", "endpoint"))
    assert (cause(found), len(found["causes"])) == (("Docker daemon", "refused"), 1)


# --- networks ---------------------------------------------------------------------------------------------------------


def test_name_servers_that_do_not_answer() -> None:
    found = told(*everywhere("rpc", "resolver"), *everywhere("bank", "resolver"))
    assert found["cause"]["component"] == "DNS"
    assert set(found["cause"]["explains"]) == {"rpc", "bank"}


def test_name_servers_that_do_not_know_a_container_that_does_not_run_are_not_the_cause() -> None:
    alone = Surroundings(KNOWN.needed[:1], KNOWN.application, KNOWN.keep, KNOWN.depends_on)
    found = told(bad("db", "stopped", "container"), *everywhere("database", "resolver"), known=alone)
    assert cause(found) == ("database", "stopped")


def test_a_name_that_does_not_exist_is_that_of_the_dependency() -> None:
    assert cause(told(*everywhere("rpc", "name"))) == ("rpc", "name")


def test_no_way_out() -> None:
    found = told(*everywhere("rpc", "timeout"), *everywhere("bank", "timeout"))
    assert found["cause"]["component"] == "network"
    assert cause(told(*everywhere("rpc", "timeout"))) == ("rpc", "timeout")


def test_a_container_that_reaches_nothing_of_what_others_reach() -> None:
    found = told(*(bad(name, "name", place="webapp") for name in ("database", "cache", "bank")))
    assert found["cause"]["component"] == "network of webapp"
    assert found["cause"]["explains"] == ["bank", "cache", "database"]


def test_a_container_that_reaches_addresses_and_finds_no_names() -> None:
    lost = [bad(name, "resolver", place="webapp") for name in ("database", "cache", "bank")]
    found = told(*lost, good("cache", "address", "webapp"))
    assert found["cause"]["component"] == "DNS of webapp"
    assert (found["action"]["kind"], found["action"]["service"]) == ("restart_service", "webapp")


def test_a_way_between_two_that_is_blocked() -> None:
    found = told(bad("database", "timeout", place="webapp"))
    assert found["cause"]["component"] == "network of webapp"
    assert len(found["causes"]) == 1


def test_a_service_that_no_user_finds_by_its_name() -> None:
    found = told(bad("cache", "name", place="webapp"))
    assert (cause(found), found["action"]["kind"]) == (("cache", "name"), "fix")


def test_only_the_host_finds_no_way_to_what_its_users_reach() -> None:
    assert told(bad("cache", "name"))["cause"] is None
    found = told(bad("cache", "name"), bad("cache", "garbage", place="webapp"))
    assert cause(found) == ("cache", "garbage")
    assert cause(told(bad("cache", "name"), bad("cache", "timeout", place="webapp"))) == ("cache", "timeout")


# --- the release ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        (Release(), UNCLEAR),
        (Release(changed_recently=True), HELPS),
        (Release(changed_recently=False), UNCLEAR),
        (Release(began_with_it=True), HELPS),
        (Release(changed_recently=True, began_with_it=False), HELPS_NOT),
    ],
)
def test_an_application_that_fails_while_all_it_needs_is_well(release: Release, expected: str) -> None:
    found = told(bad("webapp", "crash loop", "container"), bad("application", "status", "endpoint"), release=release)
    assert (cause(found), found["verdict"]) == (("webapp", "crash loop"), expected)


def test_a_young_release_with_a_dependency_that_cannot_be_seen() -> None:
    hidden = [unknown(name, place=place) for name in ("rpc",) for place in ("host", "indexer")]
    found = told(bad("webapp", "crash loop", "container"), *hidden, release=Release(changed_recently=True))
    assert found["verdict"] == UNCLEAR


def test_a_service_that_somebody_stopped_is_started() -> None:
    found = told(bad("webapp", "stopped", "container"), release=Release(changed_recently=True))
    assert (found["verdict"], found["action"]["kind"]) == (HELPS_NOT, "start_service")


def test_what_a_release_can_bring_about_is_left_open_when_the_errors_began_with_it() -> None:
    found = told(bad("database", "connections", "connections"), release=Release(began_with_it=True))
    assert found["verdict"] == UNCLEAR
    assert told(bad("database", "connections", "connections"))["verdict"] == HELPS_NOT


def test_a_certificate_that_ends_soon_is_no_cause_of_errors_that_began_with_the_release() -> None:
    assert cause(told(bad("bank", "expiring", "certificate"))) == ("bank", "expiring")
    found = told(bad("bank", "expiring", "certificate"), release=Release(began_with_it=True))
    assert (found["verdict"], found["cause"]) == (HELPS, None)


# --- what to do -------------------------------------------------------------------------------------------------------


def test_a_switch_is_proposed_only_to_a_backup_that_works() -> None:
    found = told(bad("rpc", "lagging", "newest block"))
    assert (found["action"]["kind"], found["action"]["env_key"]) == ("switch_dependency", "RPC_URL")
    dead = told(
        *everywhere("rpc", "refused"), bad("rpc (backup)", "refused"), bad("rpc (backup)", "refused", place="indexer")
    )
    assert (dead["action"]["kind"], cause(dead)) == ("wait", ("rpc", "refused"))
    lagging = told(*everywhere("rpc", "refused"), bad("rpc (backup)", "lagging", "newest block"))
    assert lagging["action"]["kind"] == "wait"


def test_a_backup_that_fails_alone_is_no_cause() -> None:
    assert told(bad("rpc (backup)", "refused"))["cause"] is None


def test_redis_that_cannot_save_is_not_restarted() -> None:
    assert told(bad("cache", "misconf", "persistence"))["action"]["kind"] == "fix"


def test_the_session_that_holds_locks_is_named() -> None:
    probe = Probe("database", "locks", "failed", "3 wait; session 4711 holds them up", fault="locks").facts()
    assert told(probe)["action"]["command"] == "SELECT pg_terminate_backend(4711)"


# --- words ------------------------------------------------------------------------------------------------------------


def result(found: dict[str, Any]) -> dict[str, Any]:
    counts = {"passed": 3, "failed": 1, "inconclusive": len(found["unknown"])}
    return {**found, "project": "shop", "counts": counts, "seconds": 0.4, "places": ["host", "webapp"]}


def test_the_lines_fit_the_screen_and_say_the_verdict_first() -> None:
    found = result(told(bad("disk /", "full", "disk", affects=("*",)), *(unknown(f"thing {n}") for n in range(20))))
    lines = diagnosis_lines(found, "shop-1")
    assert lines[:3] == [
        "Diagnosis of shop on shop-1",
        "VERDICT: ROLLBACK WILL NOT HELP",
        "Cause: disk /: full was seen",
    ]
    assert max(map(len, lines)) <= 68
    assert "  - and 12 more" in lines
    assert "Nothing was changed." in " ".join(lines)


def test_without_a_cause_the_lines_say_so() -> None:
    lines = diagnosis_lines(result(told()), "shop-1")
    assert "Cause: none was found" in lines
    assert "Not known:" not in lines


@pytest.mark.parametrize(
    ("fail_on", "with_cause", "with_unknown"),
    [("never", False, False), ("cause", True, False), ("unknown", True, True)],
)
def test_a_diagnosis_fails_on_what_is_asked_for(fail_on: str, with_cause: bool, with_unknown: bool) -> None:  # noqa: FBT001
    sick, dark = result(told(bad("cache", "stopped"))), result(told(unknown("clock", "offset")))
    assert bool(diagnosis_refusal(sick, fail_on)) is with_cause
    assert bool(diagnosis_refusal(dark, fail_on)) is with_unknown
    assert diagnosis_refusal(result(told()), fail_on) == ""


def test_what_was_seen_cannot_steer_the_screen_nor_show_a_password() -> None:
    seen = "\x1b[31mbad\n postgres://shop:s3cr3t@db/x password=s3cr3t"
    facts = Probe("x", "answers", "failed", seen, fault="error").facts()
    assert "\x1b" not in facts["seen"]
    assert "\n" not in facts["seen"]
    assert "s3cr3t" not in facts["seen"]


def test_the_short_diagnosis_names_what_else_is_to_be_done() -> None:
    sick = short_diagnosis(result(told(bad("disk /", "full", "disk", affects=("*",)))))
    assert (sick["verdict"], sick["cause"]) == ("rollback will not help", "disk /: full was seen")
    assert sick["action"].startswith("Free space on disk /")
    assert short_diagnosis(result(told()))["cause"] == ""
    action = {"kind": "roll_back", "text": "Roll back."}
    assert short_diagnosis({"verdict": "rollback will help", "cause": None, "action": action})["action"] == ""
