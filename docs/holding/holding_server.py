# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds requests while an application is restarted: clients wait a little instead of getting an error.

A proxy sends here what it could not send to the application. Each connection is kept until the application answers
``--ready`` with a status below 500, at most ``--seconds``; then it is joined with a connection to the application, byte
by byte, so requests of every kind pass. Whoever has waited in vain gets 503.

It runs beside the proxy, is not restarted in a rollback, needs Python 3.9 and nothing else, and keeps nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

PAUSE = 0.1
TIMEOUT = 2.0
ERROR = 500
PART = 65536
AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 20\r\nRetry-After: 5\r\n"
    b"Connection: close\r\n\r\nService Unavailable\n"
)


class Application:
    """The application behind the proxy: whether it is there, and a way to it."""

    def __init__(self, host: str, port: int, ready: str) -> None:
        """Know where it is; ``ready`` is the path of its health."""
        self._host, self._port, self._ready = host, port, ready
        self._there = asyncio.Event()
        self._missed = asyncio.Event()
        # All that waited go on at once; the application has its own limit, which nobody here knows.
        self._places = asyncio.Semaphore(32)

    async def watch(self) -> None:
        """Look whether it is there, for as long as somebody waits."""
        while True:
            await self._missed.wait()
            while not await self._answers():  # noqa: ASYNC110 - nobody tells when it comes
                await asyncio.sleep(PAUSE)
            self._missed.clear()
            self._there.set()

    async def wait(self) -> None:
        """Wait until it is there."""
        self._there.clear()
        self._missed.set()
        await self._there.wait()

    async def _answers(self) -> bool:
        """Tell whether its health is good."""
        try:
            reader, writer = await self.connect()
        except (OSError, asyncio.TimeoutError):
            return False
        try:
            writer.write(f"GET {self._ready} HTTP/1.0\r\nHost: {self._host}\r\n\r\n".encode())
            words = (await asyncio.wait_for(reader.readline(), TIMEOUT)).split()
        except (OSError, ValueError, asyncio.TimeoutError):
            return False
        finally:
            writer.close()
        return len(words) > 1 and words[1].isdigit() and int(words[1]) < ERROR

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection to it. Its name is looked up: a container that is made anew has another address."""
        return await asyncio.wait_for(asyncio.open_connection(self._host, self._port), TIMEOUT)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a connection with one to the application."""
        async with self._places:
            there, back = await self.connect()
            try:
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
            finally:
                back.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and hand the end on."""
    while part := await reader.read(PART):
        writer.write(part)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def hold(
    application: Application, seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Hold one connection, and serve it."""
    try:
        await asyncio.wait_for(application.wait(), seconds)
        await application.serve(reader, writer)
    except asyncio.TimeoutError:
        with contextlib.suppress(OSError):
            writer.write(AWAY)
            await writer.drain()
    except OSError:
        pass  # whoever waited has left, or the application has gone again: the proxy says so
    finally:
        writer.close()


async def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9000, help="where it listens (%(default)s)")
    parser.add_argument("--application", required=True, metavar="HOST:PORT", help="the service and its port")
    parser.add_argument("--ready", default="/", metavar="PATH", help="what to ask it (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long a request is held at most (%(default)s)")
    options = parser.parse_args()
    host, _colon, port = options.application.rpartition(":")
    application = Application(host, int(port), options.ready)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    watch = asyncio.create_task(application.watch())
    server = await asyncio.start_server(
        lambda reader, writer: hold(application, options.seconds, reader, writer), port=options.port, backlog=4096
    )
    async with server:
        await ended.wait()
    watch.cancel()


if __name__ == "__main__":
    asyncio.run(main())
