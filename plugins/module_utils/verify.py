# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The release that answers: checks, each with what it expected and what it saw, and one verdict on all of them."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from .container_logs import LogFindings, fetch_log, log_patterns, read_log, since
from .docker_client import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, connect
from .errors import RollbackError
from .git import Git
from .http_probe import (
    BODY_LIMIT,
    Background,
    HttpRequest,
    NoAnswerError,
    begin_fetch,
    checked_url,
    printable,
    redacted,
)
from .patched_release import patch_at, patched_name
from .release import parse_release, same_release
from .request_sample import Asked, judge_sample, sample_limits, take_sample
from .waiter import checked_seconds, wait_for

try:
    from docker.errors import DockerException
except ImportError:  # connect() names the package to install
    DockerException = OSError  # type: ignore[misc, assignment]

try:
    import jmespath
    from jmespath.exceptions import JMESPathError
except ImportError:
    jmespath = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

    from jmespath.parser import ParsedResult

    from .container_logs import LogPatterns
    from .http_probe import HttpAnswer
    from .request_sample import SampleLimits

    Run = Callable[..., tuple[int, str, str]]

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"

_HOLDS = {True: PASSED, False: FAILED, None: INCONCLUSIVE}
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
_GIT_TIMEOUT = 30.0
_DOCKER_TIMEOUT = 10


class Answer(NamedTuple):
    """What one check saw, and what that means."""

    verdict: str
    seen: str
    figures: dict[str, Any] = {}  # noqa: RUF012 - never written


class Check(NamedTuple):
    """One question. ``begin`` starts it and returns what waits for its answer, so that slow ones run side by side.

    ``waits`` is false when waiting cannot change the answer; ``names_release`` is true when the answer tells which
    release it is; ``decides`` is false when the answer is shown and the verdict on all does not hang on it.
    """

    name: str
    kind: str
    expected: str
    begin: Callable[[], Callable[[], Answer]]
    waits: bool = True
    names_release: bool = True
    decides: bool = True


def _begin(ask: Callable[[], Answer]) -> Callable[[], Callable[[], Answer]]:
    """Return the ``begin`` of a question that is asked when its answer is wanted."""
    return lambda: ask


# --- HTTP endpoints --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Endpoint:
    """What one URL must answer."""

    request: HttpRequest
    status: list[int]
    query: ParsedResult | None
    contains: str
    max_latency: float | None
    release: str

    def expected(self) -> str:
        """Return what a right answer is, in words."""
        parts = [f"status {' or '.join(map(str, self.status))}"]
        parts += [f"version {self.release}"] if self.query else []
        parts += [f"text {self.contains!r}"] if self.contains else []
        parts += [f"at most {self.max_latency:g} ms"] if self.max_latency else []
        return ", ".join(parts)

    def begin(self) -> Callable[[], Answer]:
        """Send the request; return what waits for the answer and judges it."""
        pending = begin_fetch(self.request, self.status)

        def finish() -> Answer:
            try:
                return self.judge(pending.result())
            except NoAnswerError as error:
                return Answer(FAILED, str(error))

        return finish

    def judge(self, answer: HttpAnswer) -> Answer:
        """Judge an answer: wrong in anything is failed, a version that cannot be read is inconclusive."""
        took = Answer(FAILED if self._late(answer) else PASSED, f"{answer.milliseconds:.0f} ms")
        found = [*self._content(answer), took]
        return Answer(worst([one.verdict for one in found]), ", ".join(one.seen for one in found))

    def _content(self, answer: HttpAnswer) -> list[Answer]:
        """Judge status, version and text, each for itself."""
        found = [Answer(PASSED if answer.status in self.status else FAILED, f"status {answer.status}")]
        if self.query:
            found.append(Answer(*self._version(answer)))
        if self.contains and self.contains not in answer.body.decode("utf-8", "replace"):
            found.append(Answer(FAILED, "text not there"))
        return found

    def _late(self, answer: HttpAnswer) -> bool:
        return bool(self.max_latency and answer.milliseconds > self.max_latency)

    def ask_once(self) -> Asked:
        """Make one request of a sample; its reasons are words that many requests share."""
        try:
            answer = begin_fetch(self.request, self.status).result()
        except NoAnswerError as error:
            return Asked(str(error))
        bad = [one for one in self._content(answer) if one.verdict != PASSED]
        bad += [Answer(FAILED, f"slower than {self.max_latency:g} ms")] if self._late(answer) else []
        failed = [one for one in bad if one.verdict == FAILED]
        wrong = " and ".join(one.seen for one in failed or bad)
        return Asked(wrong, bool(failed) or not bad, answer.milliseconds)

    def begin_sample(self, limits: SampleLimits, seconds: float) -> Callable[[], Answer]:
        """Begin a sample; return what waits for it and judges it."""
        work = Background(
            lambda: take_sample(self.ask_once, limits.requests, seconds), seconds + self.request.timeout + 1
        )

        def finish() -> Answer:
            try:
                holds, seen, figures = judge_sample(work.result(), limits)
            except NoAnswerError as error:
                return Answer(INCONCLUSIVE, str(error))
            return Answer(worst([_HOLDS[one] for one in holds]), seen, figures)

        return finish

    def _version(self, answer: HttpAnswer) -> tuple[str, str]:
        if not answer.whole:
            return INCONCLUSIVE, f"body larger than {BODY_LIMIT} bytes, version not read"
        try:
            found = self.query.search(parse_json(answer.body)) if self.query else None
        except JMESPathError as error:
            return INCONCLUSIVE, f"version_query fails on this body: {printable(str(error))}"
        except (ValueError, RecursionError, TypeError, OverflowError):
            return INCONCLUSIVE, f"no JSON: {printable(answer.body[:200].decode('utf-8', 'replace'), 60)!r}"
        if isinstance(found, bool) or not isinstance(found, (str, int, float)) or not str(found).strip():
            return INCONCLUSIVE, "version_query finds no version"
        verdict = PASSED if same_release(str(found), self.release) else FAILED
        return verdict, f"version {printable(str(found), 80)}"


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON from outside. A number of a million digits stays text: turning it into an int takes minutes."""
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 30 else digits)  # noqa: PLR2004


def compile_query(expression: str) -> ParsedResult:
    """Compile a JMESPath expression; refuse a wrong one and name the package when the library is missing."""
    if jmespath is None:
        raise RollbackError(
            "The Python library jmespath, which version_query needs, is missing on the managed host. "
            "Nothing was changed.",
            "Install it for the Python that Ansible uses there: apt-get install python3-jmespath, or pip install "
            "jmespath. Or leave version_query empty.",
        )
    try:
        return jmespath.compile(expression)
    except JMESPathError as error:
        raise RollbackError(
            f"version_query={expression!r} is not a JMESPath expression: {printable(str(error))}. Nothing was asked.",
            'Correct it; for a body such as {"version": "v1.0.2"} it is \'version\'. See https://jmespath.org.',
        ) from error


def endpoint_of(option: dict[str, Any], release: str) -> Endpoint:
    """Return what one entry of the option ``endpoints`` asks for; refuse a wrong entry."""
    url = checked_url(option["url"], "endpoints.url")
    status = option.get("status") or [200]
    if not all(100 <= code <= 599 for code in status):  # noqa: PLR2004 - the range of HTTP status codes
        raise _refused("endpoints.status", status, "HTTP status codes from 100 to 599")
    latency = option.get("max_latency")
    request = HttpRequest(
        url=url,
        timeout=checked_seconds(option.get("timeout", 5), "endpoints.timeout", 0.1),
        headers={str(key): str(value) for key, value in (option.get("headers") or {}).items()},
        validate_certs=option.get("validate_certs", True),
    )
    query = compile_query(option["version_query"]) if release and option.get("version_query") else None
    if latency is not None and not 0 < latency < float("inf"):
        raise _refused("endpoints.max_latency", latency, "a number of milliseconds above 0")
    return Endpoint(request, status, query, option.get("contains") or "", latency, release)


def endpoint_checks(options: dict[str, Any], release: str) -> tuple[list[Check], list[Check]]:
    """Return the checks of the option ``endpoints``: those that are waited for, and the samples that follow them."""
    checks: list[Check] = []
    samples: list[Check] = []
    seconds = checked_seconds(options.get("requests_timeout", 30), "requests_timeout", 0.1)
    for option in options.get("endpoints") or []:
        endpoint, limits = endpoint_of(option, release), sample_limits(option, options)
        name, tells = option.get("name") or redacted(endpoint.request.url), endpoint.query is not None
        checks.append(Check(name, "endpoint", endpoint.expected(), endpoint.begin, names_release=tells))
        if limits:
            begin = partial(endpoint.begin_sample, limits, seconds)
            samples.append(Check(name, "requests", limits.expected(), begin, names_release=tells))
    return checks, samples


# --- containers ------------------------------------------------------------------------------------------------------


class Container(NamedTuple):
    """What a check needs to know of a container."""

    name: str
    image: str
    state: str
    health: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012 - never written
    id: str = ""
    since: str = ""
    terminal: bool = False

    def words(self) -> str:
        """Return name and state in words."""
        return f"{self.name} {self.state}" + (f" ({self.health})" if self.health else "")


@dataclass(frozen=True)
class Containers:
    """The containers of one Compose project, and the image label that names a release, if one does."""

    client: Any
    project: str
    release: str
    version_label: str

    def of(self, service: str) -> list[Container]:
        """Return the containers of a service, without those of ``docker compose run``."""
        labels = [f"{PROJECT_LABEL}={self.project}", f"{SERVICE_LABEL}={service}"]
        found = self.client.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
        return [_container(one.attrs) for one in found if one.labels.get(ONE_OFF_LABEL) != "True"]

    def ask(self, service: str, judge: Callable[[list[Container]], Answer]) -> Answer:
        """Judge the containers of a service as they are now, their label included."""
        try:
            containers = self.of(service)
        except (DockerException, OSError) as error:
            return Answer(INCONCLUSIVE, f"Docker did not say: {printable(str(error))}")
        if not containers:
            return Answer(FAILED, "no container")
        answer = judge(containers)
        wrong = wrong_labels(containers, self.version_label, self.release)
        return Answer(FAILED, f"{answer.seen}; {wrong}") if wrong else answer

    def image_check(self, service: str, image: str) -> Check:
        """Return the check that a service runs one image and no other."""
        ask = _begin(lambda: self.ask(service, lambda containers: judge_images(containers, image)))
        return Check(service, "image", f"runs {image}", ask)

    def service_check(self, service: str) -> Check:
        """Return the check that a service runs and is healthy."""
        words = "running, and healthy where it has a healthcheck"
        words += f", label {self.version_label} (where set) {self.release}" if self.version_label else ""
        ask = _begin(lambda: self.ask(service, judge_services))
        return Check(service, "service", words, ask, names_release=False)

    def log_check(self, service: str, patterns: LogPatterns, limit: int | None) -> Check:
        """Return the check of what the containers of a service have logged since they started."""
        words = "no line that looks like an error, no limit is set" if limit is None else (
            f"at most {limit} lines that look like errors"
        )  # fmt: skip
        ask = _begin(lambda: self.ask_log(service, patterns, limit))
        return Check(service, "log", words, ask, waits=False, names_release=False, decides=limit is not None)

    def ask_log(self, service: str, patterns: LogPatterns, limit: int | None) -> Answer:
        """Read and judge the logs of a service."""
        found = LogFindings()
        try:
            started = [one for one in self.of(service) if one.since]
            for one in started:
                chunks = fetch_log(self.client, one.id, one.since)
                read_log(chunks, patterns, found, terminal=one.terminal)
        except (DockerException, OSError) as error:
            return Answer(INCONCLUSIVE, f"the log could not be read: {printable(str(error))}")
        if not started:
            return Answer(INCONCLUSIVE, "no container that has started")
        return judge_log(found, limit)


def _container(attributes: dict[str, Any]) -> Container:
    state = attributes.get("State") or {}
    return Container(
        name=str(attributes.get("Name", "")).lstrip("/"),
        image=str(attributes.get("Image", "")),
        state=str(state.get("Status", "unknown")),
        health=str((state.get("Health") or {}).get("Status", "")),
        labels=(attributes.get("Config") or {}).get("Labels") or {},
        id=str(attributes.get("Id", "")),
        since=since(str(state.get("StartedAt", "")), str(state.get("FinishedAt", ""))),
        terminal=bool((attributes.get("Config") or {}).get("Tty")),
    )


def judge_images(containers: list[Container], image: str) -> Answer:
    """Judge whether every running container runs the image, and at least one runs."""
    running = [one for one in containers if one.state == "running"]
    if not running:
        return Answer(FAILED, "none is running: " + ", ".join(one.words() for one in containers))
    seen = ", ".join(f"{one.name} runs {one.image}" for one in running)
    return Answer(PASSED if all(one.image == image for one in running) else FAILED, seen)


def judge_services(containers: list[Container]) -> Answer:
    """Judge whether all containers run, and are healthy where they have a healthcheck."""
    good = all(one.state == "running" and one.health in {"", "none", "healthy"} for one in containers)
    return Answer(PASSED if good else FAILED, ", ".join(one.words() for one in containers))


def judge_log(found: LogFindings, limit: int | None) -> Answer:
    """Judge the logs of a service. Lines that look like errors, and no limit: nobody said how many are too many."""
    figures = {"lines": found.lines, "errors": found.errors}
    if limit is not None and found.errors > limit:
        return Answer(FAILED, found.words(), figures)
    clear = not found.cut and (found.errors == 0 or limit is not None)
    return Answer(PASSED if clear else INCONCLUSIVE, found.words(), figures)


def wrong_labels(containers: list[Container], label: str, release: str) -> str:
    """Return in words which running containers are labelled with another release; an absent label says nothing."""
    labelled = [(one.name, one.labels[label]) for one in containers if one.state == "running" and label in one.labels]
    if not release:
        return ""
    wrong = [
        f"{name} is labelled {printable(value, 80)}" for name, value in labelled if not same_release(value, release)
    ]
    return ", ".join(wrong)


def container_checks(options: dict[str, Any], release: str) -> tuple[list[Check], list[Check]]:
    """Return the checks of the options ``images`` and ``services``, and of ``logs``; refuse wrong ones."""
    images, services, logs = options.get("images") or {}, options.get("services") or [], options.get("logs") or {}
    read = logs.get("services") or []
    if not images and not services and not read:
        return [], []
    if not options.get("project"):
        raise _refused(
            "project", options.get("project"), "the name of the Compose project, needed by images, services and logs"
        )
    patterns, limit = log_patterns(logs), logs.get("limit")
    if limit is not None and limit < 0:
        raise _refused("logs.limit", limit, "a number of lines, 0 or more; leave it out and lines are only shown")
    for service, image in images.items():
        if not _IMAGE_ID.fullmatch(str(image)):
            raise _refused(f"images.{service}", image, "an image id, sha256: and 64 hexadecimal digits")
    client = connect(options.get("docker_host"), timeout=_DOCKER_TIMEOUT)
    known = Containers(client, options["project"], release, options.get("version_label") or "")
    checks = [known.image_check(service, image) for service, image in images.items()]
    checks += [known.service_check(service) for service in services]
    return checks, [known.log_check(service, patterns, limit) for service in read]


# --- the checkout ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkout:
    """A Git checkout, asked through the Git command line and never written."""

    run: Run
    path: str

    def git(self, *arguments: str) -> tuple[int, str, str]:
        """Run git in the checkout. Its owner may be another user: that is allowed for this one call only."""
        safe = f"safe.directory={os.path.realpath(self.path)}"
        argv = ["git", "-c", safe, "-C", self.path, *arguments]
        return self.run(argv, environment={"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}, timeout=_GIT_TIMEOUT)

    def ask_tag(self, release: str, commit: str = "") -> Answer:
        """Judge whether a tag of the release points at HEAD.

        Where a ``commit`` was asked for, it may be the release with a patch; whether HEAD is it, another check tells.
        """
        code, out, err = self.git("tag", "--points-at", "HEAD")
        if code:
            return Answer(INCONCLUSIVE, f"git does not say: {printable(err.strip() or f'rc {code}')}")
        tags = out.split()
        patched = patch_at(Git(self.path, self.run), "HEAD") if commit and not tags else None
        if patched is not None:
            good = same_release(patched["release"], release)
            told = f"HEAD is {patched_name(patched['release'], patched['facts']['name'])}"
            return Answer(PASSED if good else FAILED, told)
        if not tags:
            return Answer(FAILED, "no tag at HEAD")
        good = any(same_release(tag, release) for tag in tags)
        return Answer(PASSED if good else FAILED, f"HEAD is tagged {printable(' '.join(tags))}")

    def ask_commit(self, commit: str) -> Answer:
        """Judge whether HEAD is a commit."""
        code, out, err = self.git("rev-parse", "--verify", "HEAD^{commit}")
        if code:
            return Answer(INCONCLUSIVE, f"git does not say: {printable(err.strip() or f'rc {code}')}")
        head = out.strip()
        return Answer(PASSED if head.startswith(commit.lower()) else FAILED, f"HEAD is {head}")

    def ask_package(self, name: str, release: str) -> Answer:
        """Judge the version in a package.json."""
        try:
            text = read_small(os.path.join(self.path, name))  # noqa: PTH118 - a path of the managed host
            package = parse_json(text)
        except OSError as error:
            return Answer(FAILED, f"cannot be read: {error.strerror}")
        except (ValueError, RecursionError):
            return Answer(INCONCLUSIVE, "no JSON")
        version = package.get("version") if isinstance(package, dict) else None
        if not isinstance(version, str) or not version.strip():
            return Answer(INCONCLUSIVE, "it states no version")
        return Answer(PASSED if same_release(version, release) else FAILED, f"version {printable(version, 80)}")


def read_small(path: str) -> bytes:
    """Read a file of at most 1 MiB; a larger one raises ``ValueError``."""
    with open(path, "rb") as file:  # noqa: PTH123 - a path of the managed host
        text = file.read(BODY_LIMIT + 1)
    if len(text) > BODY_LIMIT:
        raise ValueError(path)
    return text


def checkout_checks(options: dict[str, Any], release: str, run: Run) -> list[Check]:
    """Return the checks of the options ``path``, ``commit`` and ``package_json``; refuse wrong ones."""
    path, commit, package = options.get("path"), options.get("commit"), options.get("package_json")
    if not path:
        for name, value in (("commit", commit), ("package_json", package)):
            if value:
                raise _refused(name, value, "nothing, unless path names the checkout")
        return []
    if not os.path.isdir(path):  # noqa: PTH112 - a path of the managed host
        raise _refused("path", path, "the directory of a Git checkout on the managed host")
    checkout = Checkout(run, path)
    checks = []
    if release:
        tag = _begin(lambda: checkout.ask_tag(release, commit or ""))
        checks.append(Check(path, "tag", f"HEAD is tagged {release}", tag, waits=False))
    if commit:
        if not _COMMIT.fullmatch(commit):
            raise _refused("commit", commit, "a commit id, 7 to 64 hexadecimal digits")
        head = _begin(lambda: checkout.ask_commit(commit))
        checks.append(Check(path, "commit", f"HEAD is {commit}", head, waits=False))
    name = package_name(path, package)
    if name and release:
        version = _begin(lambda: checkout.ask_package(name, release))
        checks.append(Check(name, "package_json", f"version {release}", version, waits=False))
    return checks


def package_name(path: str, package: str | None) -> str:
    """Return which package.json is checked; without the option it is the one at the top, if there is one."""
    if package is None:
        return "package.json" if os.path.isfile(os.path.join(path, "package.json")) else ""  # noqa: PTH113, PTH118
    parts = PurePosixPath(package)
    if package and (parts.is_absolute() or ".." in parts.parts):
        raise _refused("package_json", package, "a path below path, without '..'")
    return package


# --- the verdict -----------------------------------------------------------------------------------------------------


def worst(verdicts: list[str]) -> str:
    """Return the verdict on several: one failed is failed, else one inconclusive is inconclusive.

    No verdict at all is inconclusive: what was not checked has not passed.
    """
    for verdict in (FAILED, INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return PASSED if verdicts else INCONCLUSIVE


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(
        f"{option}={value!r} is not accepted. Nothing was asked and nothing was changed.", f"Give {accepted}."
    )


class Checks(NamedTuple):
    """All checks: those that are asked until they pass, then the samples of requests, then the logs."""

    waited: list[Check]
    samples: list[Check]
    logs: list[Check]


def plan(options: dict[str, Any], run: Run) -> Checks:
    """Return all checks that the options ask for; refuse wrong options, and options that ask for nothing."""
    release = parse_release(options["version"]) if options.get("version") else ""
    if not (release or options.get("commit") or options.get("images")):
        raise _refused("version", "", "the release that must answer; it may be left out only with commit or images")
    endpoints, samples = endpoint_checks(options, release)
    checkout = checkout_checks(options, release, run)
    containers, logs = container_checks(options, release)
    checks = endpoints + checkout + containers
    if not checks:
        raise RollbackError(
            f"No check of {release} is configured, so nothing can be said about it. Nothing was changed.",
            "Set at least one of endpoints, images, services and path.",
        )
    return Checks(checks, samples, logs)


@dataclass
class Watch:
    """The rounds of questions so far: for each check its last answer, and since when it is what it is."""

    checks: list[Check]
    stable_for: float = 0.0
    clock: Callable[[], float] = time.monotonic
    attempts: int = 0
    passing_since: float | None = None
    passed_for: float = 0.0
    breaks: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Remember when the watch began."""
        self.started = self.clock()

    def ask(self) -> tuple[bool, list[dict[str, Any]]]:
        """Ask all checks once, side by side; tell whether all pass and have passed for long enough."""
        asked = self.clock() - self.started
        pending = [check.begin() for check in self.checks]
        answers = [finish() for finish in pending]
        now = self.clock() - self.started
        self.attempts += 1
        before = self.rows or [{}] * len(answers)
        self.rows = [self._row(*three, now) for three in zip(self.checks, answers, before)]
        return self._stable(worst([answer.verdict for answer in answers]), asked, now), self.rows

    def _row(self, check: Check, answer: Answer, before: dict[str, Any], now: float) -> dict[str, Any]:
        """Return the row of one check. ``seconds`` is when its present run of passes began, else the last answer."""
        still = answer.verdict == PASSED == before.get("verdict")
        return row_of(check, answer, before["seconds"] if still else now, self.attempts)

    def ask_once(self, checks: list[Check], *, ready: bool = True) -> list[dict[str, Any]]:
        """Ask checks that are asked once, side by side; those that are not ready are not asked, and say so."""
        pending = [check.begin() if ready else _not_asked for check in checks]
        answers = [finish() for finish in pending]
        now = self.clock() - self.started
        return [row_of(check, answer, now, int(ready)) for check, answer in zip(checks, answers)]

    def _stable(self, verdict: str, asked: float, now: float) -> bool:
        """Keep count of the unbroken time: from the end of its first round to the start of the latest."""
        if verdict != PASSED:
            self.breaks += self.passing_since is not None
            self.passing_since, self.passed_for = None, 0.0
            return False
        if self.passing_since is None:
            self.passing_since = now
        self.passed_for = max(0.0, asked - self.passing_since)
        return self.passed_for >= self.stable_for

    def hopeless(self, rows: list[dict[str, Any]]) -> bool:
        """Tell whether a check that waiting cannot change has not passed."""
        return any(not check.waits and row["verdict"] != PASSED for check, row in zip(self.checks, rows))


def _not_asked() -> Answer:
    return Answer(INCONCLUSIVE, "not asked, because not all checks before it passed")


def row_of(check: Check, answer: Answer, seconds: float, attempts: int) -> dict[str, Any]:
    """Return a check as the module returns it."""
    return {
        "name": check.name, "kind": check.kind, "expected": check.expected, "limit": check.expected,
        "seen": answer.seen, "verdict": answer.verdict, "seconds": round(seconds, 3), "attempts": attempts,
        "decides": check.decides, **answer.figures,
    }  # fmt: skip


def verify(options: dict[str, Any], run: Run) -> dict[str, Any]:
    """Ask until all checks pass or the deadline ends; return the evidence, or raise it as a ``RollbackError``.

    A sample of requests is taken once, when all else has passed: asking again until one is good would hide what fails
    at times. Logs are read last, so that they hold what these requests have caused, and in any case.
    """
    timeout = checked_seconds(options.get("timeout", 60), "timeout")
    interval = checked_seconds(options.get("interval", 1), "interval", 0.1)
    stable_for = checked_seconds(options.get("stable_for", 0), "stable_for")
    if stable_for and stable_for >= timeout:
        raise _refused("stable_for", stable_for, f"less than timeout, which is {timeout:g} seconds")
    checks = plan(options, run)
    watch = Watch(checks.waited, stable_for)
    done, rows, seconds = wait_for(watch.ask, timeout, interval, hopeless=watch.hopeless)
    rows = rows + watch.ask_once(checks.samples, ready=done)
    rows += watch.ask_once(checks.logs)
    asked = str(options.get("version") or options.get("commit") or "What was asked for").strip()
    facts = evidence(watch, rows, asked, done=done)
    if facts["verdict"] == PASSED:
        return facts
    used = f"{facts['seconds']:.1f} seconds" if done else f"{seconds:.1f} of {timeout:g} seconds"
    raise RollbackError(failure(facts, used, stable_for), NEXT_STEP, **facts)


NEXT_STEP = (
    "Look at what answers: 'docker compose ps' and 'docker compose logs --tail 100' in the project directory, and "
    "each endpoint named above. Then run the same task again; it only reads. If the service is only slow to start, "
    "set a longer timeout."
)


def evidence(watch: Watch, rows: list[dict[str, Any]], version: str, *, done: bool) -> dict[str, Any]:
    """Return the facts of a watch and of what was asked after it, as the module returns them."""
    verdict = worst([row["verdict"] for row in rows if row["decides"]])
    proves = any(check.names_release for check in watch.checks)
    facts: dict[str, Any] = {
        "changed": False, "version": version, "verdict": verdict if done or verdict != PASSED else FAILED,
        "checks": rows, "seconds": round(watch.clock() - watch.started, 3), "attempts": watch.attempts,
        "stable_seconds": round(watch.passed_for, 3), "breaks": watch.breaks, "release_asked": proves,
    }  # fmt: skip
    facts["warnings"] = [
        f"{row['kind']} {row['name']}: {row['seen']}. This does not decide."
        for row in rows
        if not row["decides"] and row["verdict"] != PASSED
    ]
    if done and not proves:
        facts["warnings"].append(
            f"No check asked which release runs; {version} is taken on trust. Set version_query, images or path."
        )
    return facts


def failure(facts: dict[str, Any], used: str, stable_for: float) -> str:
    """Return the message of a release that was not proved: each probe, its last answer, elapsed and limit."""
    wrong = [row for row in facts["checks"] if row["verdict"] != PASSED and row["decides"] and row["attempts"]]
    if not wrong:
        return (
            f"{facts['version']} answers, but has passed all checks without a break for only "
            f"{facts['stable_seconds']:.1f} of {stable_for:g} seconds ({facts['breaks']} breaks), after {used}."
        )
    count = Counter(row["verdict"] for row in facts["checks"] if row["attempts"])
    summary = ", ".join(f"{count[verdict]} {verdict}" for verdict in (FAILED, INCONCLUSIVE, PASSED) if count[verdict])
    details = "; ".join(
        f"{row['kind']} {row['name']} {row['verdict']}: expected {row['expected']}, saw {row['seen']}" for row in wrong
    )
    return f"{facts['version']} is not proved to be what answers after {used} ({summary}). {details}."
