# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chart of a benchmark."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from benchmarks import chart

SVG = "{http://www.w3.org/2000/svg}"


def elements(drawn: str, kind: str) -> list[ET.Element]:
    return list(ET.fromstring(drawn).iter(SVG + kind))  # noqa: S314 - drawn here


def texts(drawn: str) -> list[str]:
    return [text.text or "" for text in elements(drawn, "text")]


def widths(drawn: str) -> list[float]:
    """Return the widths of the bars; the first rectangle is the page."""
    return [float(one.get("width", 0)) for one in elements(drawn, "rect")[1:]]


def test_bars_are_as_long_as_their_medians() -> None:
    drawn = chart.svg("Outage", "about", [chart.Bar("hand", [4.0, 8.0, 5.0]), chart.Bar("ours", [2.5], ours=True)])
    hand, ours = widths(drawn)
    assert hand == pytest.approx(2 * ours, abs=0.2)
    assert {"Outage", "hand", "5.00 s", "ours", "2.50 s"} <= set(texts(drawn))


def test_the_page_holds_the_highest_value_and_the_limit() -> None:
    drawn = chart.svg("Outage", "about", [chart.Bar("hand", [4.0, 8.0])], chart.Limit(20.0, "boot + 1.5 s", 1))
    assert chart.LEFT + max(widths(drawn)) < chart.WIDTH - chart.RIGHT
    assert "boot + 1.5 s" in texts(drawn)


def test_a_bar_that_was_not_measured_says_why_and_has_no_length() -> None:
    drawn = chart.svg("Outage", "about", [chart.Bar("hand", [], "failed"), chart.Bar("ours", [])])
    assert widths(drawn) == []
    assert {"failed", "unknown"} <= set(texts(drawn))


def test_names_cannot_break_the_chart() -> None:
    assert "<b> & co" in texts(chart.svg("Outage", "about", [chart.Bar("<b> & co", [1.0])]))


def test_a_chart_of_nothing_can_be_drawn() -> None:
    assert widths(chart.svg("Outage", "about", [])) == []
