"""What /health says."""

from __future__ import annotations

import psycopg2
import redis

from . import queries, stores


def state_of_database() -> str:
    """Return ``ok`` when the database answers a query."""
    try:
        stores.rows("SELECT 1 AS one")
    except psycopg2.Error:
        return "failed"
    return "ok"


def state_of_redis() -> str:
    """Return ``ok`` when Redis answers."""
    try:
        stores.cache().ping()
    except redis.RedisError:
        return "failed"
    return "ok"


def state_of_pools() -> str:
    """Return ``ok`` when the pools can be read."""
    try:
        stores.rows(queries.POOLS)
    except psycopg2.Error:
        return "failed"
    return "ok"


def report(version: str) -> tuple[int, dict[str, str]]:
    """Return the HTTP status and the body: 503 when a store is down, ``degraded`` when only the pools fail."""
    stores_now = {"database": state_of_database(), "redis": state_of_redis()}
    if set(stores_now.values()) != {"ok"}:
        return 503, {"status": "failed", "version": version, **stores_now}
    pools = state_of_pools()
    return 200, {"status": "ok" if pools == "ok" else "degraded", "version": version, **stores_now, "pools": pools}
