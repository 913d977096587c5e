"""What Prometheus scrapes: requests by status, how long they took, and how many events there are."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter

import psycopg2

from . import stores

EDGES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_lock = threading.Lock()
_requests: Counter[int] = Counter()
_buckets: Counter[float] = Counter()
_seconds = [0.0]


def observe(status: int, seconds: float) -> None:
    """Count one answer."""
    with _lock:
        _requests[status] += 1
        _seconds[0] += seconds
        for edge in EDGES:
            _buckets[edge] += seconds <= edge


def report() -> str:
    """Return one scrape; without a database the number of events is left out."""
    with _lock:
        lines = [f'http_requests_total{{code="{status}"}} {count}' for status, count in sorted(_requests.items())]
        name, count = "http_request_duration_seconds", sum(_requests.values())
        lines += [f'{name}_bucket{{le="{edge}"}} {_buckets[edge]}' for edge in EDGES]
        lines += [f'{name}_bucket{{le="+Inf"}} {count}', f"{name}_sum {_seconds[0]}", f"{name}_count {count}"]
    with contextlib.suppress(psycopg2.Error):
        lines.append(f"wexel_events_total {stores.rows('SELECT count(*) AS events FROM events')[0]['events']}")
    return "\n".join(lines) + "\n"
