"""The database and Redis, with limits so that a store that hangs cannot hang a request."""

from __future__ import annotations

import os
from contextlib import closing

import psycopg2
import redis
from psycopg2.extras import RealDictCursor


def connect() -> psycopg2.extensions.connection:
    """Connect to the database that the PG* variables name."""
    return psycopg2.connect("", connect_timeout=2, options="-c statement_timeout=2000")


def rows(query: str) -> list[dict[str, object]]:
    """Return what a query finds."""
    with closing(connect()) as connection:
        cursor = connection.cursor(cursor_factory=RealDictCursor)
        cursor.execute(query)
        return [dict(row) for row in cursor.fetchall()]


def cache() -> redis.Redis:
    """Return a client of Redis."""
    return redis.Redis(
        host=os.environ.get("REDIS_HOST", "redis"),
        socket_connect_timeout=1,
        socket_timeout=1,
        decode_responses=True,
    )
