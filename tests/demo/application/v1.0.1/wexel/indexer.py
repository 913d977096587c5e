"""The indexer: writes events and the pools' deposits, five batches a second, until SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import closing
from pathlib import Path

import psycopg2
import redis

from . import stores

HEARTBEAT = Path("/tmp/heartbeat")  # noqa: S108 - a container of its own
SECONDS_BETWEEN_BATCHES = 0.2
SECONDS_BEFORE_RETRY = 0.5
BATCH = """
WITH event AS (
    INSERT INTO events (pool_id, amount) SELECT floor(random() * 8) + 1, 1 + floor(random() * 100)
    RETURNING pool_id, amount
)
UPDATE pools SET deposited = deposited + event.amount, updated_at = clock_timestamp()
FROM event WHERE pools.id = event.pool_id RETURNING pools.id
"""


def write_batch(connection: psycopg2.extensions.connection, cache: redis.Redis) -> None:
    """Write one event and its pool in one transaction, and remember the pool in Redis."""
    with connection, connection.cursor() as cursor:
        cursor.execute(BATCH)
        (pool,) = cursor.fetchone()
    cache.set("newest_pool", pool)
    HEARTBEAT.touch()


def write_until(stop: threading.Event) -> None:
    """Write batches over one connection; a batch that has begun is finished."""
    with closing(stores.connect()) as connection:
        cache = stores.cache()
        while not stop.wait(SECONDS_BETWEEN_BATCHES):
            write_batch(connection, cache)


def write_until_fault(stop: threading.Event) -> None:
    """Write batches until SIGTERM or until a store is away; in that case wait a little."""
    try:
        write_until(stop)
    except (psycopg2.Error, redis.RedisError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        stop.wait(SECONDS_BEFORE_RETRY)


def main() -> None:
    """Write until SIGTERM, and begin again when a store was away."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("the indexer writes", flush=True)
    while not stop.is_set():
        write_until_fault(stop)


if __name__ == "__main__":
    main()
