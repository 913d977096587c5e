# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small AWX in memory, for the modules of awx.awx: what they ask for, and what AWX refuses of surveys and playbooks.

It is a contract, restated from the source of AWX 24: no AWX was asked. It has an organization, a project, an inventory
and a credential; the project holds the playbooks of the example project.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "docs" / "awx_project"
TOKEN = "token-of-the-tests"  # noqa: S105 - a stub asks for it
TYPES = {"text", "textarea", "password", "multiplechoice", "multiselect", "integer", "float"}
KINDS = {
    "organizations": "organization", "projects": "project", "inventories": "inventory", "credentials": "credential",
    "execution_environments": "execution_environment", "job_templates": "job_template", "labels": "label",
    "workflow_job_templates": "workflow_job_template", "workflow_job_template_nodes": "workflow_job_template_node",
    "workflow_approval_templates": "workflow_approval",
}  # fmt: skip


def survey_error(survey: Any) -> str:
    """Return why AWX refuses a survey; empty when it does not."""
    wrong = _wrong_type(survey, {"name": str, "description": str, "spec": list})
    if wrong or not survey["spec"]:
        return f"{wrong} in survey spec." if wrong else "'spec' doesn't contain any items."
    seen: set[str] = set()
    for number, item in enumerate(survey["spec"]):
        if not isinstance(item, dict):
            return f"Survey question {number} is not a json object."
        wrong = _wrong_type(item, {"type": str, "question_name": str, "variable": str, "required": bool})
        wrong = wrong or (f"'variable' '{item['variable']}' duplicated" if item["variable"] in seen else "")
        wrong = wrong or _wrong_question(item)
        if wrong:
            return f"{wrong} in survey question {number}."
        seen.add(item["variable"])
    return ""


def _is(value: Any, *kinds: type) -> bool:
    """Tell whether a value is of a kind; true and false are no numbers."""
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _wrong_type(item: dict[str, Any], kinds: dict[str, type]) -> str:
    wrong = [key for key, kind in kinds.items() if not _is(item.get(key), kind)]
    return f"'{wrong[0]}' missing or of a wrong type" if wrong else ""


def _wrong_question(item: dict[str, Any]) -> str:
    """Return what AWX says of the type, the default, the limits and the choices of a question."""
    default, kind = item.get("default", ""), item["type"]
    kinds: dict[str, tuple[type, ...]] = {"integer": (int,), "float": (int, float), "multiselect": (str, list)}
    if kind not in TYPES:
        return f"'{kind}' is not one of the allowed types"
    if default not in ("", None) and not _is(default, *kinds.get(kind, (str,))):
        return f"Default value {default} expected to be {kind}"
    if any(item.get(key) is not None and not _is(item[key], int) for key in ("min", "max")):
        return "The min and max limits are expected to be integer"
    return _wrong_choices(item, default) if kind in ("multiplechoice", "multiselect") else ""


def _wrong_choices(item: dict[str, Any], default: Any) -> str:
    """Return what AWX says of the choices of a question."""
    choices = item.get("choices")
    if not choices or not isinstance(choices, (str, list)):
        return "Must specify choices"
    defaults = default if isinstance(default, list) else str(default or "").splitlines()
    if item["type"] == "multiplechoice" and len(defaults) > 1:
        return "Multiple Choice (Single Select) can only have one default value"
    known = choices.splitlines() if isinstance(choices, str) else choices
    return "" if all(one in known for one in defaults) else "Default choice must be answered from the choices listed"


class RefusalError(Exception):
    """What AWX answers with status 400."""


class Awx:
    """The objects, by kind and id, and the surveys."""

    def __init__(self) -> None:
        """Begin with what a team has before it sets the collection up."""
        self.objects: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.links: dict[str, list[int]] = {}
        self.surveys: dict[str, Any] = {}
        self.count = 0
        organization = self.create("organizations", {"name": "Default"})["id"]
        for kind in ("projects", "inventories", "credentials"):
            name = {"projects": "rollback", "inventories": "production", "credentials": "hosts"}[kind]
            self.create(kind, {"name": name, "organization": organization})

    def create(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Make an object, if AWX would."""
        playbook = fields.get("playbook")
        if kind == "job_templates" and (not playbook or not (EXAMPLE / playbook).is_file()):
            raise RefusalError({"playbook": ["Playbook not found for project."]})
        named = ("job_templates", "workflow_job_templates")
        if kind in named and any(one["name"] == fields["name"] for one in self.objects[kind].values()):
            raise RefusalError({"__all__": [f"{kind} with this name already exists."]})
        self.count += 1
        url = f"/api/v2/{kind}/{self.count}/"
        related = {"survey_spec": f"{url}survey_spec/"}
        made = {**fields, "id": self.count, "type": KINDS[kind], "url": url, "related": related}
        self.objects[kind][self.count] = made
        return made

    def found(self, kind: str, wanted: dict[str, str]) -> list[dict[str, Any]]:
        """Return the objects of a kind that have the wanted values."""
        unified = [one for one in KINDS if one.endswith(("projects", "templates"))]
        kinds = unified if kind == "unified_job_templates" else [kind]
        everything = [item for one in kinds for item in self.objects[one].values()]
        return [one for one in everything if all(str(one.get(key)) == value for key, value in wanted.items())]

    def approval(self, node: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        """Make the template of an approval, which a node then has."""
        made = self.create(
            "workflow_approval_templates", {key: fields.get(key) for key in ("name", "description", "timeout")}
        )
        node["unified_job_template"] = made["id"]
        node["related"]["unified_job_template"] = made["url"]
        return made


class Handler(BaseHTTPRequestHandler):
    """The paths that the modules use."""

    awx: Awx

    def _answer(self, status: int, body: Any = None) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", "24.6.1")
        self.end_headers()
        self.wfile.write(text)

    def _handle(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"detail": "Authentication credentials were not provided."})
            return
        parts = urlsplit(self.path)
        words = parts.path.removeprefix("/api/v2/").strip("/").split("/")
        length = int(self.headers.get("Content-Length") or 0)
        data = json.loads(self.rfile.read(length) or b"{}") if length else {}
        try:
            self._answer(*self._called(words, dict(parse_qsl(parts.query)), data))
        except RefusalError as refusal:
            self._answer(400, refusal.args[0])
        except KeyError as error:
            self._answer(404, {"detail": f"Not found: {error}"})

    do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - names of the base class

    def _called(self, words: list[str], wanted: dict[str, str], data: Any) -> tuple[int, Any]:
        kind, here = words[0], self.awx
        if kind == "state":
            return 200, {**here.objects, "surveys": here.surveys, "links": here.links}
        if len(words) == 1:
            if self.command == "POST":
                return 201, here.create(kind, data)
            results = here.found(kind, wanted)
            return 200, {"count": len(results), "next": None, "results": results}
        item = here.objects[kind][int(words[1])]
        if len(words) > 2:  # kind, id, part
            return self._part(item, words[2], data)
        if self.command == "PATCH":  # an approval has no other fields than those that it was made with
            fixed = item["type"] == "workflow_approval"
            item.update({key: value for key, value in data.items() if key in item or not fixed})
        return 200, item

    def _part(self, item: dict[str, Any], part: str, data: Any) -> tuple[int, Any]:
        here, key = self.awx, f"{item['url']}{part}/"
        if part == "survey_spec":
            if self.command == "GET":
                return 200, here.surveys.get(key, {})
            wrong = survey_error(data)
            if wrong:
                raise RefusalError({"error": wrong})
            here.surveys[key] = data
            return 200, {}
        if part == "create_approval_template":
            return 201, here.approval(item, data)
        if item["type"] == "workflow_approval":
            raise KeyError(key)  # nodes have successors, their templates have none
        linked = here.links.setdefault(key, [])
        if self.command == "GET":
            return 200, {"count": len(linked), "next": None, "results": [{"id": number} for number in linked]}
        if data.get("disassociate"):
            linked.remove(data["id"])
        else:
            linked.append(data["id"])
        return 204, None

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


def serve(directory: Path) -> None:
    """Serve until the process is ended; the file says where, when it answers."""
    Handler.awx = Awx()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    new = directory / "awx.json.new"
    new.write_text(json.dumps({"pid": os.getpid(), "url": f"http://127.0.0.1:{server.server_port}"}), encoding="utf-8")
    new.rename(directory / "awx.json")
    server.serve_forever()


def main() -> None:
    """Start a server that goes on, or stop it: ``awx_stub.py start|serve|stop DIRECTORY``."""
    action, directory = sys.argv[1], Path(sys.argv[2])
    told = directory / "awx.json"
    if action == "serve":
        serve(directory)
    elif action == "start":
        told.unlink(missing_ok=True)
        argv = [sys.executable, __file__, "serve", str(directory)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(argv, start_new_session=True, **quiet)  # type: ignore[call-overload]
        while not told.exists():
            if process.poll() is not None:
                sys.exit("The stub of AWX ended before it answered.")
            time.sleep(0.05)
    elif told.exists():
        os.kill(json.loads(told.read_text(encoding="utf-8"))["pid"], signal.SIGTERM)
        told.unlink()


if __name__ == "__main__":
    main()
