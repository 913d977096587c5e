# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bars of one figure, a median each, with the least and the most; as SVG."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from collections.abc import Sequence

TEMPLATE = Path(__file__).with_name("chart.svg.j2")
WIDTH, LEFT, RIGHT = 900, 170, 90
FIRST, STEP = 44, 30
ROOM = 24  # for the words below a limit


@dataclass(frozen=True)
class Bar:
    """One row: what it is called, and what was measured; nothing was where ``why`` says why."""

    label: str
    found: Sequence[float]
    why: str = "unknown"
    ours: bool = False


@dataclass(frozen=True)
class Limit:
    """A value that the first so many bars are held against."""

    value: float
    label: str
    bars: int


def svg(title: str, about: str, bars: Sequence[Bar], limit: Limit | None = None) -> str:
    """Return the chart."""
    highest = max([*(max(one.found) for one in bars if one.found), limit.value if limit else 0], default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / highest
    under = limit.bars if limit else len(bars)
    drawn = [_drawn(one, FIRST + STEP * number + ROOM * (number >= under), scale) for number, one in enumerate(bars)]
    place = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return place.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        about=about,
        width=WIDTH,
        height=FIRST + STEP * len(bars) + ROOM + 8,
        left=LEFT,
        bars=drawn,
        limit=_line(limit, scale) if limit else None,
    )


def _drawn(one: Bar, y: int, scale: float) -> dict[str, Any]:
    """Return where a bar lies."""
    about = {"label": one.label, "ours": one.ours, "y": y, "known": bool(one.found)}
    if not one.found:
        return about | {"after": LEFT, "told": one.why}
    middle = statistics.median(one.found)
    least, most = (_place(value, scale) for value in (min(one.found), max(one.found)))
    width = round(middle * scale, 1)
    return about | {"width": width, "least": least, "most": most, "after": most + 8, "told": f"{middle:.2f} s"}


def _line(limit: Limit, scale: float) -> dict[str, Any]:
    """Return where a limit lies."""
    bottom = FIRST + STEP * limit.bars - 6
    return {"x": _place(limit.value, scale), "top": FIRST - 4, "bottom": bottom, "label": limit.label}


def _place(value: float, scale: float) -> float:
    """Return where a value lies."""
    return round(LEFT + value * scale, 1)
