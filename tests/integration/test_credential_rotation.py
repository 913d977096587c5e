# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""credential_rotation on real servers: what a client sees, what follows any cut, what must not leak."""

from __future__ import annotations

import json
import os
import stat
import traceback
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import credential_rotation as rotation
from ansible_collections.usdx.rollback.plugins.module_utils import credentials, environment_file, redis_server
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import role_password
from ansible_collections.usdx.rollback.plugins.modules.credential_rotation import request_of
from credential_stand import ADMIN, ADMIN_PASSWORD, Stand, stand
from harness import Outcome, call_module
from postgres_servers import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOGIN = {"login_host": None, "login_port": 5432, "ssl_mode": "prefer", "ca_cert": None, "maintenance_db": "postgres"}
# What a call does that lasts, in the order of its work; it is cut before and after each.
CUTS: list[tuple[Any, str]] = [
    (credentials.Book, "_write"),
    (role_password, "change"),
    (role_password, "end_sessions"),
    (redis_server, "set_password"),
    (environment_file, "replace_file"),
    (credentials.Book, "forget"),
]


@pytest.fixture(scope="module", params=VERSIONS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Give a project with each version of Postgres in turn."""
    with stand(tmp_path_factory.mktemp("shop"), request.param) as made:
        yield made


@pytest.fixture(params=[False, True], ids=["one role", "two roles"])
def pair(request: pytest.FixtureRequest, place: Stand) -> bool:
    """Make the roles and the file anew; tell which kind they are."""
    place.fresh(pair=request.param)
    return bool(request.param)


def call(place: Stand, state: str, *, pair: bool, check: bool = False, **more: Any) -> dict[str, Any]:
    """Call the logic in this process."""
    options = {"docker_host": None, "rotation": "", **place.options(pair=pair, **more)}
    options["postgres"] = {**LOGIN, **options["postgres"]}
    return rotation.rotate(request_of(options), state, check=check)


def rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result["credentials"]}


def state_of(place: Stand) -> tuple[Any, ...]:
    """Return all that a rotation can change."""
    verifiers = place.sql(
        "SELECT rolname, rolcanlogin, rolpassword FROM pg_authid WHERE rolname LIKE 'app%' ORDER BY 1"
    )
    return place.file.read_text(), verifiers, place.redis_opens(place.old)


def pending(place: Stand) -> dict[str, Any]:
    path = place.state / "pending.json"
    return dict(json.loads(path.read_text())["credentials"]) if path.exists() else {}


def assert_rotated(place: Stand, *, pair: bool) -> None:
    """Check that the application gets in, the old secret opens nothing, others cannot read, nothing is pending."""
    assert place.works()
    assert not [role for role in ("app", "app_a", "app_b") if place.opens(role, place.old)]
    assert not place.redis_opens(place.old)
    assert not place.redis_opens(None)
    assert place.old not in place.file.read_text()
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600
    user = place.database_login()[0]
    assert user in ({"app_a", "app_b"} if pair else {"app"})
    open_roles = place.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'app%' AND rolcanlogin")
    assert open_roles == [(user,)], "of two roles the other is locked"
    assert not pending(place)


def test_check_real_check_real(place: Stand, *, pair: bool) -> None:
    """Through Ansible, under one name: the second time nothing changes."""
    before = state_of(place)
    options = place.options(pair=pair, rotation="20261124T160728Z-960a")
    foreseen = call_module("credential_rotation", options, check=True)
    assert (foreseen.failed, foreseen["changed"], state_of(place)) == (False, True, before), foreseen.result
    assert [row["action"] for row in foreseen["credentials"]] == ["rotate"] * 4 + ["by a person"]
    assert ("without a gap" in foreseen["credentials"][0]["gap"]) is pair
    assert not (place.state).exists() or not pending(place)

    changed = call_module("credential_rotation", options)
    assert (changed.failed, changed["changed"]) == (False, True), changed.result
    assert place.works()
    assert place.opens("app_a", place.old) is pair, "of two roles the old one works until the end"
    finished = call_module("credential_rotation", {**options, "state": "finished"})
    assert (finished.failed, finished["changed"]) == (False, True), finished.result
    told = rows(finished.result)
    for name in ("database", "cache"):
        assert (told[name]["works"]["verdict"], told[name]["refused"]["verdict"]) == ("passed", "passed")
        assert told[name]["worked_before"] is True
    assert told["sessions"]["refused"]["verdict"] == "inconclusive", "nobody was asked, so it has not passed"
    assert (told["database"]["gap_seconds"] is None) is pair
    assert_rotated(place, pair=pair)
    assert any(item.startswith("mail: ") for item in finished["open_items"])
    assert any("Redis has neither" in item for item in finished["open_items"])

    after = state_of(place)
    for check in (True, False):
        again = call_module("credential_rotation", options, check=check)
        assert (again.failed, again["changed"], state_of(place)) == (False, False, after), again.result
    no_more = call_module("credential_rotation", {**options, "state": "finished"})
    assert (no_more.failed, no_more["changed"]) == (False, False)
    said = "".join(str(one.result) + one.shown + one.progress for one in (foreseen, changed, finished, again))
    leaked = [
        text for text in (place.logs("db"), place.logs("redis"), said) for one in place.secrets_of_file() if one in text
    ]
    assert len(place.secrets_of_file()) == 4
    assert leaked == []
    assert place.file.read_text().count("\n") == 9
    assert "export DB_USER=" in place.file.read_text()


def test_it_turns_back_and_forth(place: Stand, *, pair: bool) -> None:
    for _time in range(3):
        call(place, "changed", pair=pair)
        call(place, "finished", pair=pair)
        assert place.works()
    assert_rotated(place, pair=pair)


def test_sessions_from_before_end_and_those_from_after_go_on(place: Stand, *, pair: bool) -> None:
    user, old = place.database_login()
    before = place.connect(user, old)
    with redis_server.Place(place.address("redis")).session("default", place.old) as intruder:
        call(place, "changed", pair=pair)
        after = place.connect(*place.database_login())
        with redis_server.Place(place.address("redis")).session("default", place.held("REDIS_PASSWORD")) as client:
            told = rows(call(place, "finished", pair=pair))
            assert client.call("PING") == "PONG"
        with pytest.raises(redis_server.RedisError):
            intruder.call("PING")
    with pytest.raises(psycopg2.Error):
        before.cursor().execute("SELECT 1")
    after.cursor().execute("SELECT 1")
    assert (told["database"]["sessions_ended"], told["cache"]["sessions_ended"]) == (1, 1)


def test_put_back(place: Stand, *, pair: bool) -> None:
    before = state_of(place)
    assert call(place, "put_back", pair=pair)["changed"] is False
    call(place, "changed", pair=pair)
    assert call(place, "put_back", pair=pair, check=True)["changed"] is True
    assert state_of(place) != before
    assert call(place, "put_back", pair=pair)["changed"] is True
    assert state_of(place) == before
    assert not pending(place)
    call(place, "changed", pair=pair)
    call(place, "finished", pair=pair)
    assert_rotated(place, pair=pair)


@pytest.mark.parametrize("broken", ["database", "cache"])
def test_a_proof_that_fails_is_an_error_and_the_old_secrets_come_back(place: Stand, *, pair: bool, broken: str) -> None:
    before = state_of(place)
    call(place, "changed", pair=pair)
    user, _new = place.database_login()
    if broken == "database":
        place.sql(f"ALTER ROLE {user} PASSWORD 'somebody else was here'")
    else:
        place.redis("CONFIG", "SET", "requirepass", place.old, password=place.held("REDIS_PASSWORD"))
    with pytest.raises(RollbackError, match=broken) as caught:
        call(place, "finished", pair=pair)
    assert "pending.json" in caught.value.msg
    assert pending(place), "the notes are kept"
    call(place, "put_back", pair=pair)
    assert state_of(place) == before
    assert place.works()


# --- cut off anywhere -------------------------------------------------------------------------------------------------


def cut_off(work: Callable[[], Any], number: int) -> bool:
    """Do the work in a process that dies at its cut with this number; tell whether it died."""
    child = os.fork()
    if child == 0:
        try:
            seen = [0]
            for owner, name in CUTS:
                setattr(owner, name, _cutting(getattr(owner, name), seen, number))
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing may leave the child
            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, 9}, "the work failed before it was cut off"
    return code == 9


def _cutting(function: Callable[..., Any], seen: list[int], number: int) -> Callable[..., Any]:
    def count() -> None:
        seen[0] += 1
        if seen[0] == number:
            os._exit(9)

    def cut(*arguments: Any, **named: Any) -> Any:
        count()
        result = function(*arguments, **named)
        count()
        return result

    return cut


# Where it is cut off does not hang on the version of the server.
@pytest.mark.long
@pytest.mark.parametrize("place", VERSIONS[-1:], indirect=True)
@pytest.mark.parametrize("end", ["finished", "put_back"])
def test_cut_off_anywhere_a_second_call_finishes(place: Stand, *, pair: bool, end: str) -> None:
    def work() -> None:
        call(place, "changed", pair=pair, rotation="first")
        call(place, end, pair=pair, rotation="first")

    number = 1
    while True:
        place.fresh(pair=pair)
        died = cut_off(work, number)
        if not died:
            break
        known = pending(place)
        user, password = place.database_login()
        may_open = {(user, password)}
        if note := known.get("database"):
            may_open |= {(note["user"], note["new"]), (note["old_user"], note["old"])}
        assert any(place.opens(*login) for login in may_open), f"locked out after cut {number}"
        call(place, "changed", pair=pair, rotation=f"again-{number}")
        call(place, "finished", pair=pair, rotation=f"again-{number}")
        assert_rotated(place, pair=pair)
        number += 1
    assert number > 20, "the work was cut at its changes"


# --- the login is one of those that are rotated -----------------------------------------------------------------------


def test_the_login_itself_is_rotated_and_cut_off(place: Stand) -> None:
    """The password in the inventory is the old one; a second call finds the new one in the notes."""
    place.fresh(pair=False)
    place.sql("ALTER ROLE app SUPERUSER")
    login = {"db": "shop", "service": "db", "login_user": "app", "login_password": place.old}

    def work() -> None:
        call(place, "changed", pair=False, postgres=login)

    for number in range(1, 60):
        if not cut_off(work, number):
            break
    call(place, "changed", pair=False, postgres=login)
    told = call(place, "finished", pair=False, postgres=login)
    assert_rotated(place, pair=False)
    assert any("vault" in item for item in told["open_items"])
    # The vault still has the old one: the environment file has the new one.
    call(place, "changed", pair=False, postgres=login)
    call(place, "finished", pair=False, postgres=login)
    assert place.works()


def test_a_login_that_may_only_create_roles(place: Stand, *, pair: bool) -> None:
    """It cannot read the old verifiers; they are made again from the old password."""
    grant = "; ".join(f"GRANT {role} TO maker WITH ADMIN OPTION" for role in (["app_a", "app_b"] if pair else ["app"]))
    place.sql(f"CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'maker'; {grant}")
    login = {"db": "shop", "service": "db", "login_user": "maker", "login_password": "maker"}
    try:
        call(place, "changed", pair=pair, postgres=login)
        call(place, "put_back", pair=pair, postgres=login)
        assert place.works()
        assert place.held("DB_PASSWORD") == place.old
        call(place, "changed", pair=pair, postgres=login)
        told = call(place, "finished", pair=pair, postgres=login)
        assert_rotated(place, pair=pair)
        assert rows(told)["database"]["works"]["verdict"] == "passed"
    finally:
        place.sql("DROP OWNED BY maker; DROP ROLE maker")


# --- Redis ------------------------------------------------------------------------------------------------------------


def test_a_user_of_redis_besides_the_default_one(place: Stand) -> None:
    place.fresh(pair=False)
    old = place.old
    place.redis("ACL", "SETUSER", "worker", "on", f">{old}w", "~*", "+@all", "-ping", password=old)
    place.file.write_text(place.file.read_text() + f"WORKER_URL=redis://worker:{old}w@redis/1\n")
    one = {"name": "worker", "kind": "redis", "service": "redis", "user": "worker", "env_keys": ["WORKER_URL"],
           "admin_key": "REDIS_URL"}  # fmt: skip
    call(place, "changed", pair=False, credentials=[one])
    told = call(place, "finished", pair=False, credentials=[one])
    assert rows(told)["worker"]["refused"]["verdict"] == "passed"
    assert not place.redis_opens(f"{old}w", "worker")
    new = (place.held("WORKER_URL") or "").split(":")[2].partition("@")[0]
    assert place.redis_opens(new, "worker")
    assert place.redis_opens(old), "the default user keeps its password"
    place.redis("ACL", "DELUSER", "worker", password=old)


def test_redis_without_a_password_gets_one(place: Stand) -> None:
    place.fresh(pair=False)
    place.redis("CONFIG", "SET", "requirepass", "", password=place.old)
    place.file.write_text("REDIS_URL=redis://redis:6379/0\nREDIS_PASSWORD=\n")
    one = {"name": "cache", "kind": "redis", "service": "redis", "env_keys": ["REDIS_URL", "REDIS_PASSWORD"]}
    call(place, "changed", pair=False, credentials=[one])
    call(place, "put_back", pair=False, credentials=[one])
    assert place.redis_opens(None)
    call(place, "changed", pair=False, credentials=[one])
    call(place, "finished", pair=False, credentials=[one])
    assert not place.redis_opens(None)
    assert place.redis_opens(place.held("REDIS_PASSWORD"))


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_input_is_refused_before_anything_changes(place: Stand, *, pair: bool) -> None:
    before = state_of(place)
    given = place.credentials(pair=pair)
    database, cache, *_others = given

    def refused(*words: str, **more: Any) -> None:
        for check in (True, False):
            outcome: Outcome = call_module("credential_rotation", place.options(pair=pair, **more), check=check)
            assert outcome.failed, outcome.result
            assert all(word in outcome["msg"] for word in words), outcome["msg"]
            assert outcome["next_step"]
            assert place.old not in str(outcome.result)
            assert state_of(place) == before
            assert not pending(place)

    refused("DB_NOTHING", credentials=[database | {"env_keys": ["DB_NOTHING"]}])
    refused("database", "different", credentials=[database | {"env_keys": ["DATABASE_URL", "APP_VERSION"]}])
    refused("stands twice", credentials=[database, cache | {"env_keys": ["DB_PASSWORD"]}])
    refused("length=8", credentials=[given[2] | {"length": 8}])
    refused("nobody", credentials=[cache | {"service": "nobody"}])
    refused("cannot be read", environment_file="/nowhere/.env")
    wrong = {"db": "shop", "service": "db", "login_user": ADMIN, "login_password": ADMIN_PASSWORD + "x"}
    refused("cannot be reached", postgres=wrong)
    if pair:
        place.sql("CREATE ROLE extra; GRANT extra TO app_a")
        refused("no member of extra", credentials=[database])
        place.sql("DROP ROLE extra")
    else:
        refused("names the role 'app'", credentials=[{**database, "role": "nobody"}])


def test_a_command_that_fails_leaves_all_as_it_was(place: Stand, *, pair: bool) -> None:
    before = state_of(place)
    given = place.credentials(pair=pair)
    failing = [given[0], given[3] | {"argv": ["sh", "-c", "echo s3cr3t; echo s3cr3t >&2; exit 3"]}]
    outcome = call_module("credential_rotation", place.options(pair=pair, credentials=failing))
    assert outcome.failed
    assert "returned 3" in outcome["msg"]
    assert state_of(place) == before
    assert "s3cr3t" not in outcome["msg"] + outcome["next_step"] + outcome.progress
    call(place, "put_back", pair=pair, credentials=failing)
    assert (state_of(place), pending(place)) == (before, {})


def test_notes_of_other_credentials_are_not_thrown_away(place: Stand, *, pair: bool) -> None:
    call(place, "changed", pair=pair)
    with pytest.raises(RollbackError, match="cut off"):
        call(place, "changed", pair=pair, credentials=place.credentials(pair=pair)[1:])
    place.state.chmod(0o755)
    try:
        with pytest.raises(RollbackError, match="open to others"):
            call(place, "finished", pair=pair)
    finally:
        place.state.chmod(0o700)
    call(place, "finished", pair=pair)
    assert_rotated(place, pair=pair)
