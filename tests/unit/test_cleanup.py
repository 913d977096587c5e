# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cleanup may drop: by age and number, and never of a run that may still be needed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import cleanup, cleanup_text
from ansible_collections.usdx.rollback.plugins.module_utils.cleanup import (
    Decision,
    KeptImage,
    Limits,
    Reference,
    Run,
    Situation,
    Tree,
    decide,
)
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.git import Git
from ansible_collections.usdx.rollback.plugins.module_utils.journal import Journal
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from ansible_collections.usdx.rollback.plugins.module_utils.release_tree import borrows_from
from docker.errors import DockerException
from git_projects import git, make_project
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 24, 15, 0, 0, tzinfo=timezone.utc)
ALL = Limits(keep=0, min_age_hours=0, keep_releases=0, keep_journals_days=0)
A, B, C, D = (letter * 40 for letter in "abcd")
REPOSITORY = "usdx-rollback/shop/web"


def made_run(hours: float, *, succeeded: bool = True, journal: bool = True, commits: tuple[str, ...] = ()) -> Run:
    """Return a run that began so many hours ago."""
    at = NOW - timedelta(hours=hours)
    return Run(f"{at:%Y%m%dT%H%M%SZ}-3f9a", at, has_journal=journal, succeeded=succeeded, commits=commits)


def of_runs(*runs: Run, **more: Any) -> Situation:
    """Return a situation in which each run has kept an image under two names' worth, and a reference."""
    images = tuple(KeptImage(f"{REPOSITORY}:before-{one.id}", f"image {one.id}", run_id=one.id) for one in runs)
    references = tuple(Reference(one.id, f"refs/rollback/{one.id}/before", A) for one in runs)
    names = Counter(image.image_id for image in images)
    return Situation(NOW, runs, images, references, **{"names": names, **more})


def pin(commit: str, hours: float | None, image_id: str = "") -> KeptImage:
    """Return the name of a release whose commit was used so many hours ago."""
    used = None if hours is None else NOW - timedelta(hours=hours)
    short = commit[:12]
    return KeptImage(f"{REPOSITORY}:{short}", image_id or f"image {short}", commit=short, used_at=used)


def of_pins(*pins: KeptImage, **more: Any) -> Situation:
    """Return a situation with names of releases only."""
    return Situation(NOW, images=pins, names=Counter(one.image_id for one in pins), **more)


def commits(decision: Decision) -> str:
    """Return the first letters of the releases whose names go."""
    return "".join(sorted(image.commit[0] for image in decision.images))


def hours_of(decision: Decision) -> list[int]:
    """Return the ages of the runs whose references go; their images must be those of the same runs."""
    runs = [one.run_id for one in decision.references]
    assert sorted(image.run_id for image in (*decision.images, *decision.in_use)) == sorted(runs)
    ages = [NOW - at for at in map(cleanup.run_time, runs) if at is not None]
    return sorted(round(age.total_seconds() / 3600) for age in ages)


# -- ids


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("20261124T150405Z-3f9a", datetime(2026, 11, 24, 15, 4, 5, tzinfo=timezone.utc)),
        ("20261124T150405Z", datetime(2026, 11, 24, 15, 4, 5, tzinfo=timezone.utc)),
        ("20261324T150405Z-3f9a", None),
        ("20261124T150405Z-3f9a-extra", None),
        ("20261124T150405Z-", None),
        ("20261124T150405-3f9a", None),
        ("3f9ac0ffee12", None),
        ("", None),
        ("..", None),
    ],
)
def test_the_time_of_a_run_is_in_its_id(name: str, at: datetime | None) -> None:
    assert cleanup.run_time(name) == at


# -- runs


@pytest.mark.parametrize(
    ("keep", "min_age", "gone"),
    [
        (3, 168, [400, 500]),
        (3, 450, [500]),
        (0, 168, [200, 300, 400, 500]),
        (0, 0, [1, 200, 300, 400, 500]),
        (1, 0, [200, 300, 400, 500]),
        (5, 0, []),
        (9, 0, []),
        (0, 501, []),
    ],
)
def test_by_number_and_age(keep: int, min_age: float, gone: list[int]) -> None:
    runs = [made_run(hours) for hours in (300, 1, 500, 200, 400)]
    assert hours_of(decide(of_runs(*runs), replace(ALL, keep=keep, min_age_hours=min_age))) == gone


@pytest.mark.parametrize(
    ("runs", "holder", "gone"),
    [
        # the newest, failed or cut off
        ([made_run(200, succeeded=False), made_run(300)], None, [300]),
        # it is not the newest any more
        ([made_run(200), made_run(300, succeeded=False)], None, [200, 300]),
        # nothing tells how the newest ended; the one before has a journal and failed
        ([made_run(200, journal=False, succeeded=False), made_run(300, succeeded=False), made_run(400)], None, [400]),
        ([made_run(200, journal=False, succeeded=False), made_run(300), made_run(400)], None, [300, 400]),
        # the lock
        ([made_run(200), made_run(300), made_run(400)], made_run(300).id, [200, 400]),
        ([made_run(200), made_run(300)], "20261124T150000Z-ffff", [200, 300]),
        ([made_run(200), made_run(300)], "", [300]),
        ([], "", []),
    ],
)
def test_of_some_runs_nothing_goes(runs: list[Run], holder: str | None, gone: list[int]) -> None:
    assert hours_of(decide(of_runs(*runs, holder=holder), ALL)) == gone


def test_a_run_of_tomorrow_is_young() -> None:
    """The clock was set back, or is wrong now: it is not known how old the run is."""
    assert hours_of(decide(of_runs(made_run(-24), made_run(1)), ALL)) == [1]


def test_journals_go_later_than_the_rest() -> None:
    old, older, without = made_run(24 * 30), made_run(24 * 400), made_run(24 * 500, journal=False)
    decision = decide(of_runs(made_run(1), old, older, without), replace(ALL, keep=1, keep_journals_days=365))
    assert decision.journals == (older,)
    assert len(decision.references) == 3
    assert decide(of_runs(old, older), replace(ALL, keep=2)).journals == ()


@given(
    ages=st.lists(
        st.tuples(st.integers(-50, 500), st.booleans(), st.booleans()), max_size=8, unique_by=lambda it: it[0]
    ),
    keep=st.integers(0, 9),
    min_age=st.integers(0, 500),
    holder=st.sampled_from([None, "", "first", "last"]),
)
def test_what_must_stay_stays(ages: list[tuple[int, bool, bool]], keep: int, min_age: int, holder: str | None) -> None:
    runs = sorted((made_run(age, succeeded=good, journal=told) for age, good, told in ages), key=lambda it: it.at)
    names = {"first": runs[0].id, "last": runs[-1].id} if runs else {}
    held = names.get(holder or "", holder if holder in (None, "") else None)
    limits = replace(ALL, keep=keep, min_age_hours=min_age)
    found = of_runs(*runs, holder=held)
    decision = decide(found, limits)
    gone = {one.run_id for one in decision.references}
    assert not gone & {one.id for one in runs[::-1][:keep]}
    assert not gone & {one.id for one in runs if NOW - one.at < timedelta(hours=min_age)}
    assert held not in gone
    assert not runs or runs[-1].succeeded or runs[-1].id not in gone
    # once more, after it is gone: nothing
    left = replace(
        found,
        images=tuple(one for one in found.images if one not in decision.images),
        references=tuple(one for one in found.references if one not in decision.references),
        runs=tuple(one for one in found.runs if one.id not in gone),
    )
    again = decide(left, limits)
    assert (again.images, again.references, again.journals) == ((), (), ())


# -- images


def test_the_last_name_of_an_image_in_use_stays() -> None:
    """Of several names one is enough; the newest stays."""
    old, older = made_run(300), made_run(400)
    images = tuple(KeptImage(f"{REPOSITORY}:before-{one.id}", "used", run_id=one.id) for one in (older, old))
    found = Situation(NOW, (old, older), images, names={"used": 2}, in_use=frozenset({"used"}))
    decision = decide(found, ALL)
    assert [one.run_id for one in decision.images] == [older.id]
    assert [one.run_id for one in decision.in_use] == [old.id]
    elsewhere = decide(replace(found, names={"used": 3}), ALL)
    assert (len(elsewhere.images), elsewhere.in_use) == (2, ())
    again = decide(replace(found, images=images[1:], names={"used": 1}), ALL)
    assert (again.images, again.in_use) == ((), decision.in_use)


@pytest.mark.parametrize(
    ("keep", "min_age", "head", "gone"),
    [
        (0, 0, "", "abc"),
        (1, 0, "", "bc"),
        (2, 0, "", "c"),
        (3, 0, "", ""),
        (0, 250, "", "c"),
        (0, 0, B, "ac"),
        # the commit that is checked out is one of those that are counted
        (1, 0, C, "ab"),
        (2, 0, C, "b"),
        # also where nothing tells when it was used
        (1, 0, D, "abc"),
    ],
)
def test_releases_by_use_and_age(keep: int, min_age: float, head: str, gone: str) -> None:
    """The release d was never used as far as it is known: it stays, and is not counted."""
    found = of_pins(pin(C, 300), pin(A, 100), pin(D, None), pin(B, 200), head=head)
    assert commits(decide(found, replace(ALL, keep_releases=keep, min_age_hours=min_age))) == gone


def test_a_release_is_kept_or_goes_with_all_its_services() -> None:
    """One image may have been named later than the other; the release is as new as the newer one."""
    pins = (pin(A, 300, "web"), replace(pin(A, 100, "worker"), name=f"{REPOSITORY}er:{A[:12]}"), pin(B, 200))
    assert commits(decide(of_pins(*pins), replace(ALL, keep_releases=1))) == "b"
    assert commits(decide(of_pins(*pins), ALL)) == "aab"


def test_an_image_that_the_project_uses_keeps_the_names_of_its_release() -> None:
    found = of_pins(pin(A, 300, "used"), pin(B, 300), used_here=frozenset({"used"}), in_use=frozenset({"used"}))
    assert commits(decide(replace(found, names={"used": 5}), ALL)) == "b"


def test_an_image_that_another_project_uses_keeps_its_last_name() -> None:
    found = of_pins(pin(A, 300, "used"), pin(B, 300), in_use=frozenset({"used"}))
    decision = decide(found, ALL)
    assert commits(decision) == "b"
    assert [one.image_id for one in decision.in_use] == ["used"]
    assert commits(decide(replace(found, names={"used": 2}), ALL)) == "ab"


def test_a_run_that_stays_keeps_the_releases_that_it_went_between() -> None:
    """To undo it, or to go on with it, without a build."""
    pins = [pin(A, 300), pin(B, 300), pin(C, 300)]
    found = replace(of_pins(*pins), runs=(made_run(200, commits=(A, B)), made_run(300, commits=(B, C))))
    assert commits(decide(found, replace(ALL, keep=1))) == "c"
    assert commits(decide(found, replace(ALL, keep=2))) == ""
    assert commits(decide(found, ALL)) == "abc"


def test_while_an_unknown_run_goes_on_no_release_and_no_tree_goes() -> None:
    found = replace(of_pins(pin(A, 300)), trees=(Tree("old", NOW - timedelta(days=30)),))
    assert [len(part) for part in (decide(found, ALL).images, decide(found, ALL).trees)] == [1, 1]
    held = decide(replace(found, holder=""), ALL)
    assert (held.images, held.trees) == ((), ())


# -- private trees


@pytest.mark.parametrize(
    ("min_age", "runs", "gone"),
    [
        (168, (), "c"),
        (0, (), "bc"),
        # the tree may be that of the run that can be gone on with
        (0, (made_run(150, succeeded=False),), "c"),
        (0, (made_run(150),), "bc"),
        (0, (made_run(50), made_run(150, succeeded=False)), "bc"),
    ],
)
def test_trees(min_age: float, runs: tuple[Run, ...], gone: str) -> None:
    """In its first hour a tree may be that of a plan, which has no journal."""
    trees = tuple(Tree(name, NOW - timedelta(hours=hours)) for name, hours in (("a", 0.9), ("b", 100), ("c", 200)))
    decision = decide(Situation(NOW, runs, trees=trees), replace(ALL, min_age_hours=min_age))
    assert "".join(tree.path for tree in decision.trees) == gone


def test_a_tree_is_known_by_the_objects_that_it_borrows(tmp_path: Path) -> None:
    info = tmp_path / ".git/objects/info"
    info.mkdir(parents=True)
    assert not borrows_from(str(tmp_path), "/srv/shop/.git/objects")
    marker = tmp_path / ".git/usdx-rollback.json"
    marker.write_text('{"complete": false}')
    assert borrows_from(str(tmp_path), "/srv/shop/.git/objects")
    (info / "alternates").write_text("/srv/other/.git/objects\n")
    assert not borrows_from(str(tmp_path), "/srv/shop/.git/objects")
    (info / "alternates").write_text("/srv/shop/.git/objects\n/srv/cache\n")
    marker.unlink()
    assert borrows_from(str(tmp_path), "/srv/shop/.git/objects")


# -- journals


def events(*told: tuple[str, dict[str, Any]]) -> Journal:
    """Return a journal with these events."""
    return Journal([{"event": name, "facts": facts, "time": "", "step": None} for name, facts in told], 0)


@pytest.mark.parametrize(
    ("told", "succeeded"),
    [
        ([], False),
        ([("run_started", {})], False),
        ([("run_started", {}), ("run_finished", {"outcome": "succeeded"})], True),
        ([("run_started", {}), ("run_finished", {"outcome": "failed"})], False),
        ([("run_started", {}), ("run_finished", {})], False),
        # gone on with, and cut off again
        ([("run_started", {}), ("run_finished", {"outcome": "succeeded"}), ("step_started", {})], False),
    ],
)
def test_a_run_has_succeeded_when_its_last_words_say_so(
    told: list[tuple[str, dict[str, Any]]],
    succeeded: bool,  # noqa: FBT001
) -> None:
    assert cleanup.run_of("20261124T150405Z-3f9a", events(*told)).succeeded is succeeded


def test_a_journal_names_the_releases() -> None:
    assert cleanup.commits_of(events(("run_started", {"commit": A, "from": {"commit": B}}))) == [A, B]
    assert cleanup.commits_of(events(("run_started", {"commit": None, "from": "x"}), ("step_started", {}))) == []


# -- references


def test_a_symbolic_reference_is_found_also_when_its_branch_is_gone(tmp_path: Path) -> None:
    made = make_project(tmp_path)
    for run_id, branch in (("20261124T150405Z-3f9a", "main"), ("20261124T150406Z-3f9a", "gone")):
        git(made.tree, "update-ref", f"refs/rollback/{run_id}/before", "HEAD")
        git(made.tree, "symbolic-ref", f"refs/rollback/{run_id}/branch", f"refs/heads/{branch}")
    git(made.tree, "update-ref", "refs/rollback/by-hand/before", "HEAD")
    found = cleanup._references(Git(str(made.tree), run))
    assert [(one.run_id, one.ref.rpartition("/")[2], one.value) for one in found] == [
        ("20261124T150405Z-3f9a", "before", made.new),
        ("20261124T150405Z-3f9a", "branch", ""),
        ("20261124T150406Z-3f9a", "before", made.new),
        ("20261124T150406Z-3f9a", "branch", ""),
    ]


class Daemon:
    """A daemon with nothing but images; each can be made to refuse with a status code of its own."""

    def __init__(self, refusals: dict[str, int]) -> None:
        """Keep what is refused; ``api`` is where the SDK has its calls."""
        self.refusals = refusals
        self.removed: list[str] = []
        self.named: str | None = None
        self.made: str | None = None
        self.api = self

    def inspect_image(self, _name: str) -> dict[str, Any]:
        """Return what the daemon says of any image."""
        return {"Metadata": {"LastTagTime": self.named}, "Created": self.made}

    def remove_image(self, name: str) -> None:
        """Remove an image, or refuse as the SDK does."""
        if name in self.refusals:
            error = DockerException(f"refused {name}")
            error.status_code = self.refusals[name]  # type: ignore[attr-defined]
            raise error
        self.removed.append(name)


@pytest.fixture
def act(tmp_path: Path) -> cleanup._Act:
    """Give what drops things of a project on v1.0.3; its daemon refuses two names."""
    look = object.__new__(cleanup._Look)
    look.git = Git(str(make_project(tmp_path).tree), run)
    look.client = Daemon({"in use": 409, "broken": 500})  # type: ignore[assignment]
    look.state_directory = str(tmp_path / "state")
    return cleanup._Act(look, check=False)


def test_a_symbolic_reference_goes_and_its_branch_stays(act: cleanup._Act) -> None:
    tree = Path(act.look.git.path)
    for run_id, branch in (("20261124T150405Z-3f9a", "main"), ("20261124T150406Z-3f9a", "gone")):
        git(tree, "update-ref", f"refs/rollback/{run_id}/before", "HEAD")
        git(tree, "symbolic-ref", f"refs/rollback/{run_id}/branch", f"refs/heads/{branch}")
    main, others = git(tree, "rev-parse", "main"), git(tree, "for-each-ref", "refs/tags", "refs/heads", "refs/remotes")
    found = cleanup._references(act.look.git)
    assert act.each(found, lambda one: one.name, act.reference) == found
    assert (act.failed, cleanup._references(act.look.git)) == ([], [])
    assert git(tree, "rev-parse", "main", "HEAD").split() == [main, main]
    assert git(tree, "for-each-ref", "refs/tags", "refs/heads", "refs/remotes") == others


def test_a_reference_that_was_moved_since_the_decision_stays(act: cleanup._Act) -> None:
    tree, ref = Path(act.look.git.path), "refs/rollback/20261124T150405Z-3f9a/before"
    git(tree, "update-ref", ref, "v1.0.2^{commit}")
    moved = Reference("20261124T150405Z-3f9a", ref, git(tree, "rev-parse", "HEAD"))
    assert act.each([moved], lambda one: one.name, act.reference) == []
    assert act.failed == [ref]
    assert git(tree, "rev-parse", ref) == git(tree, "rev-parse", "v1.0.2^{commit}")


def test_a_refusal_does_not_hold_up_the_rest(act: cleanup._Act) -> None:
    images = [KeptImage(name, "x") for name in ("a", "in use", "broken", "b")]
    assert [one.name for one in act.each(images, lambda one: one.name, act.image)] == ["a", "b"]
    assert (act.in_use, act.failed) == (["in use"], ["broken"])
    assert act.warnings == ["broken could not be dropped: refused broken"]


def test_the_journal_of_a_run_goes_after_the_rest_of_it(act: cleanup._Act) -> None:
    """If something of it could not be dropped the journal stays, and the module fails in the end."""
    runs = [made_run(300), made_run(400)]
    for one in runs:
        act.folder(one).mkdir(parents=True)
        (act.folder(one) / "journal.jsonl").write_text("{}\n")
    act.look.client = Daemon({f"{REPOSITORY}:before-{runs[0].id}": 500})  # type: ignore[assignment]
    act.look.warnings, act.look.sizes = [], {f"image {runs[1].id}": 7}
    found = replace(of_runs(*runs), references=())
    with pytest.raises(RollbackError, match=f"Not everything could be dropped: {REPOSITORY}:before-") as caught:
        cleanup._carry_out(act, found, decide(found, ALL))
    assert (act.folder(runs[0]).exists(), act.folder(runs[1]).exists()) == (True, False)
    facts = caught.value.facts
    assert facts["failed_to_drop"] == [f"{REPOSITORY}:before-{runs[0].id}"]
    assert (facts["changed"], facts["dropped"]["journals"]) == (True, [runs[1].id])
    assert facts["bytes"] == {"images": 7, "journals": 3, "trees": 0}
    assert facts["left"] == {"images": 1, "references": 0, "journals": 1, "trees": 0}


@pytest.mark.parametrize(
    ("told", "at"),
    [
        (("2026-11-24T15:04:05.123456789Z", "2025-01-01T00:00:00Z"), "2026-11-24T15:04:05+00:00"),
        (("2026-11-24T16:04:05+01:00", ""), "2026-11-24T16:04:05+01:00"),
        (("0001-01-01T00:00:00Z", "2025-01-01T00:00:00.5Z"), "2025-01-01T00:00:00+00:00"),
        ((None, "2025-01-01T00:00:00Z"), "2025-01-01T00:00:00+00:00"),
        (("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"), None),
        (("yesterday", None), None),
    ],
)
def test_when_an_image_was_named(act: cleanup._Act, told: tuple[str | None, str | None], at: str | None) -> None:
    daemon = Daemon({})
    daemon.named, daemon.made = told
    act.look.client = daemon  # type: ignore[assignment]
    assert act.look.tagged_at("x") == (datetime.fromisoformat(at) if at else None)


# -- options and words


@pytest.mark.parametrize("name", ["keep", "min_age_hours", "keep_releases", "keep_journals_days"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1_000_000])
def test_numbers_that_are_none_are_refused(name: str, value: float) -> None:
    options = dict.fromkeys(Limits.__dataclass_fields__, 1) | {name: value}
    with pytest.raises(RollbackError, match=f"{name} is .* Nothing was changed"):
        cleanup.run_cleanup(options, run, check=False)


def told(**kept: Any) -> list[str]:
    """Return the lines of a cleanup."""
    none: dict[str, Any] = {kind: [] for kind in ("images", "references", "journals", "trees")}
    result = {
        "dropped": none | kept.pop("dropped", {}), "left": dict.fromkeys(none, 1), "bytes": dict.fromkeys(none, 0),
        "in_use": [], "held": [],
    }  # fmt: skip
    database = kept.pop("database", {})
    cleaned = {"host": "shop-1", "project": "shop", "kept": result | kept, "database": database}
    return cleanup_text.cleanup_lines(cleaned)


def test_nothing_to_drop_is_said() -> None:
    assert told() == [
        "Cleanup of project shop on shop-1",
        "Drop nothing: what is left is too young, too new, or in use",
        "Left: 1 image name, 1 Git reference, 1 journal, 1 private tree",
    ]


def test_every_thing_has_a_line() -> None:
    run_id = "20261124T150405Z-3f9a"
    lines = told(
        dropped={
            "images": [f"{REPOSITORY}:before-{run_id}"],
            "references": [f"lib:refs/rollback/{run_id}/before", f"refs/rollback/{run_id}/local-edits-2"],
        },
        bytes={"images": 1_500_000, "references": 0, "journals": 0, "trees": 0},
        in_use=["a"],
        held=["b"],
        database={
            "dropped": [{"name": "shop_before_1", "kind": "kept", "at": "20261124T150405Z", "bytes": 999}],
            "left": ["x", "y"],
        },
    )
    assert lines[1:] == [
        "Drop 1 image name (at most 1.5 MB):",
        f"  {REPOSITORY}:before-{run_id}",
        "Drop 2 Git references:",
        f"  lib:refs/rollback/{run_id}/before",
        f"  refs/rollback/{run_id}/local-edits-2  <- saved work of somebody, gone for good",
        "Drop 1 database (999 bytes):",
        "  shop_before_1, kept at 20261124T150405Z (999 bytes)",
        "Left: 1 image name, 1 Git reference, 1 journal, 1 private tree, 2 databases",
        "In use by a container, left: a",
        "A run that is under way, unfinished or failed keeps everything: b",
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2_340_000, "2.3 MB"), (7e12, "7000.0 GB")],
)
def test_sizes(number: float, text: str) -> None:
    assert cleanup_text.size_text(number) == text
