# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Docker daemon answers, byte by byte as it says it: nothing is read into the memory, nothing is changed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..http_probe import printable
from .item import CHUNK, MISSING, REFUSED, NotTaken

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from docker.client import DockerClient

_OK, _GONE = 200, 404
_SECONDS = 60.0  # that the daemon may be silent


@contextmanager
def answer(client: DockerClient, path: str, asked: Mapping[str, Any]) -> Iterator[Any]:
    """Give the answer to a GET of the Engine API, open as a stream. Raises ``NotTaken`` when the daemon says no.

    https://docs.docker.com/reference/api/engine/
    """
    api = client.api
    url = f"{api.base_url}/v{api.api_version}{path}"
    with api.get(url, params=dict(asked), stream=True, timeout=_SECONDS) as got:
        if got.status_code != _OK:
            said = next(got.iter_content(1000), b"").decode("utf-8", "replace")
            verdict = MISSING if got.status_code == _GONE else REFUSED
            raise NotTaken(verdict, f"Docker answers {got.status_code}: {printable(said)}")
        yield got


def chunks(client: DockerClient, path: str, asked: Mapping[str, Any]) -> Generator[bytes, None, None]:
    """Give the body of an answer."""
    with answer(client, path, asked) as got:
        yield from got.iter_content(CHUNK)
