# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins of status page services: they keep incidents, and refuse what their documentation does not allow."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from receivers import Request

TOKEN = "s3cr3t-token"  # noqa: S105 - of a test
STATES = ["investigating", "identified", "monitoring", "resolved"]


@dataclass
class Service:
    """One service: its incidents, the newest first, each with name, state and updates, the oldest first."""

    provider: str
    version: str = "3"
    incidents: list[dict[str, Any]] = field(default_factory=list)
    components: dict[str, Any] = field(default_factory=dict)

    def answer(self, request: Request) -> tuple[int, Any]:
        """Answer a request, or say 401, 404 or 422."""
        kind = "cachet" if self.provider == "cachet" else self.provider
        answered: tuple[int, Any] = getattr(self, f"_{kind}")(request)
        return answered

    def _open(self, name: str, state: str, message: str) -> dict[str, Any]:
        made = {"id": len(self.incidents) + 1, "name": name, "state": state, "updates": [(state, message)]}
        self.incidents.insert(0, made)
        return made

    def _named(self, identity: str) -> dict[str, Any]:
        return next(one for one in self.incidents if str(one["id"]) == identity)

    def _statuspage(self, request: Request) -> tuple[int, Any]:  # noqa: PLR0911 - an answer each
        def shown(one: dict[str, Any]) -> dict[str, Any]:
            updates = [{"status": state, "body": body} for state, body in reversed(one["updates"])]
            return {"id": str(one["id"]), "name": one["name"], "status": one["state"], "incident_updates": updates,
                    "shortlink": f"https://stspg.io/{one['id']}"}  # fmt: skip

        if request.headers.get("Authorization") != f"OAuth {TOKEN}":
            return 401, {"error": "Could not authenticate"}
        told = (request.body or {}).get("incident", {})
        place = re.fullmatch(r"/v1/pages/page1/incidents(?:/(\w+))?", request.path)
        if place is None:
            return 404, {}
        if request.method == "GET" and place[1] == "unresolved":
            return 200, [shown(one) for one in self.incidents if one["state"] != "resolved"]
        if told.get("status") not in STATES or not told.get("body"):
            return 422, {"error": "status and body"}
        self.components |= told.get("components", {})
        if request.method == "POST" and not place[1]:
            return 201, shown(self._open(told["name"], told["status"], told["body"]))
        if request.method == "PATCH" and place[1]:
            one = self._named(place[1])
            one["state"] = told["status"]
            one["updates"].append((told["status"], told["body"]))
            return 200, shown(one)
        return 404, {}

    def _instatus(self, request: Request) -> tuple[int, Any]:
        def shown(one: dict[str, Any]) -> dict[str, Any]:
            updates = [
                {"id": f"u{number}", "status": state.upper(), "message": body, "started": f"2026-01-01T00:0{number}Z"}
                for number, (state, body) in enumerate(one["updates"])
            ]  # fmt: skip
            return {"id": str(one["id"]), "name": one["name"], "status": one["state"].upper(), "updates": updates}

        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": {"message": "Unauthorized"}}
        told = request.body or {}
        place = re.fullmatch(r"/v1/page1/incidents(\?.*)?(?:/(\w+)/incident-updates)?", request.path)
        if place is None:
            return 404, {}
        if request.method == "GET":
            return 200, [shown(one) for one in self.incidents]
        state = str(told.get("status")).lower()
        if state not in STATES or told["status"] != state.upper() or not told.get("message"):
            return 422, {"error": "status and message"}
        self.components |= {one["id"]: one["status"] for one in told["statuses"]}
        if place[2]:
            one = self._named(place[2])
            one["state"] = state
            one["updates"].append((state, told["message"]))
            return 200, {"id": "u9"}
        return 200, shown(self._open(told["name"], state, told["message"]))

    def _cachet(self, request: Request) -> tuple[int, Any]:  # noqa: C901, PLR0911 - an answer each
        old = self.version == "2"
        good = ("X-Cachet-Token", TOKEN) if old else ("Authorization", f"Bearer {TOKEN}")
        if request.headers.get(good[0]) != good[1]:
            return 401, {}

        def row(identity: int, name: str, state: str, message: str) -> dict[str, Any]:
            number = STATES.index(state) + 1
            if old:
                return {"id": identity, "name": name, "status": number, "message": message}
            status = {"human": state, "value": number}
            return {"id": str(identity), "type": "incidents",
                    "attributes": {"id": identity, "name": name, "status": status, "message": message}}  # fmt: skip

        prefix = "/api/v1" if old else "/api"
        told = request.body or {}
        component = re.fullmatch(rf"{prefix}/components/(\w+)", request.path)
        if component and request.method == "PUT":
            self.components[component[1]] = told["status"]
            return 200, {"data": {}}
        place = re.fullmatch(rf"{prefix}/incidents(?:/(\d+)/updates)?(\?.*)?", request.path)
        if place is None:
            return 404, {}
        if request.method == "GET" and place[1]:
            updates = list(enumerate(self._named(place[1])["updates"]))[1:]
            return 200, {"data": [row(number, "", state, body) for number, (state, body) in reversed(updates)]}
        if request.method == "GET":
            rows = [row(one["id"], one["name"], one["state"], one["updates"][0][1]) for one in self.incidents]
            return 200, {"data": rows}
        if told.get("status") not in {1, 2, 3, 4} or not told.get("message"):
            return 422, {}
        state = STATES[told["status"] - 1]
        if place[1]:
            one = self._named(place[1])
            one["state"] = state
            one["updates"].append((state, told["message"]))
            return 200, {"data": {"id": 1}}
        if not told.get("visible"):
            return 422, {}
        made = self._open(told["name"], state, told["message"])
        return 200, {"data": row(made["id"], made["name"], state, told["message"])}
