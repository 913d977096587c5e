# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.

Everything that a journal quotes is escaped by Jinja2, and the page forbids itself to load or run anything.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from .journal import clock
from .run_report import Database, HostReport, Report, StepReport, approved_by, follow_up_sum, undelivered, undo_text
from .run_text import moment_text

try:
    import jinja2
except ImportError:  # a controller has it: ansible-core needs it
    jinja2 = None  # type: ignore[assignment]

_TICKS = (0, 10, 30, 60, 120, 300, 900, 1800, 3600, 4 * 3600, 24 * 3600)
_HALF = 10.0  # seconds; below it the axis is nearly linear, above it nearly logarithmic
# In percent of the width of the chart: the least width of a bar, and of a label of the axis on a phone.
_NARROWEST = 0.6
_APART = 16
_EDGE = 4
_TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ report.headline }}, run {{ report.run_id }}</title>
<style>
:root { --paper: #fff; --ink: #1c2330; --soft: #5a6575; --line: #d5dae2; --box: #f5f7fa;
  --good: #126b3a; --bad: #b3261e; --open: #8a5300; --bar: #2f6fb2; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e6e9ee; --soft: #a3adbb; --line: #363e4b;
  --box: #1d232d; --good: #6fd39b; --bad: #ff9a91; --open: #f0b862; --bar: #6aa9e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .2rem 0 .6rem; border-left: .4rem solid; padding-left: .9rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
p { margin: .4rem 0; }
ul { margin: .4rem 0; padding-left: 1.4rem; }
.soft, th, dt, summary { color: var(--soft); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.open { color: var(--open); }
a { color: inherit; }
pre { white-space: pre-wrap; margin: .3rem 0 .8rem; padding: .6rem .8rem; background: var(--box);
  border: 1px solid var(--line); border-radius: .3rem; font: .9rem/1.4 ui-monospace, monospace; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .2rem 1.2rem; margin: .5rem 0; }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); }
th, .short { white-space: nowrap; overflow-wrap: normal; }
summary { cursor: pointer; }
.chart { margin: .6rem 0; font-size: .9rem; line-height: 1.3; }
.chart > div { display: grid; grid-template-columns: 16rem 1fr; align-items: center; }
svg { width: 100%; height: 1.9rem; display: block; overflow: visible; }
svg text { fill: var(--soft); font-size: .8rem; }
svg line { stroke: var(--line); }
svg rect { fill: var(--bar); }
svg .failed { fill: var(--bad); }
svg circle { fill: var(--open); stroke: var(--paper); stroke-width: 1.5; }
@media (max-width: 56rem) { .fine { display: none; } }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  .chart > div { display: block; margin-top: .4rem; }
  svg { height: 1.4rem; }
  table, tbody, tr, td { display: block; }
  thead { position: absolute; left: -999rem; }
  tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
  td { border: 0; padding: .1rem 0; }
  td::before { content: attr(data-label) ": "; color: var(--soft); }
}
@media print {
  html { font-size: 12px; } body { max-width: none; }
  tr, .chart, pre { break-inside: avoid; } h2, h2 + p { break-after: avoid; }
}
</style>
</head>
<body>
{% macro table(head, rows) %}
<table><thead><tr>{% for title in head %}<th scope="col">{{ title }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}
{% set short = " short" if cell | length < 12 %}
<td data-label="{{ head[loop.index0] }}" class="{{ tone(cell) }}{{ short }}">{{ cell or "-" }}</td>
{% endfor %}</tr>{% endfor %}</tbody></table>
{% endmacro %}
{% macro pairs(rows) %}
<dl>{% for name, text in rows %}<dt>{{ name }}</dt><dd>{{ text }}</dd>{% endfor %}</dl>
{% endmacro %}
{% macro drawing(drawn) %}
<div class="chart" aria-hidden="true">
<div><span></span><svg>{% for tick in drawn.ticks %}
<text{% if tick.fine %} class="fine"{% endif %} x="{{ tick.x }}%" y="80%" text-anchor="{{ tick.anchor }}">
{{- tick.label }}</text>
{% endfor %}</svg></div>
{% for row in drawn.rows %}
<div><span>{{ row.label }}</span><svg>
{% for tick in drawn.ticks %}
<line{% if tick.fine %} class="fine"{% endif %} x1="{{ tick.x }}%" x2="{{ tick.x }}%" y1="0" y2="100%"/>
{% endfor %}
{% if row.width %}
<rect class="{{ row.state }}" x="{{ row.x }}%" y="20%" width="{{ row.width }}%" height="60%" rx="2"/>
{% endif %}
{% if row.target is not none %}
<circle cx="{{ row.target }}%" cy="50%" r="5"/>
{% endif %}
</svg></div>
{% endfor %}
</div>
{% endmacro %}
<header>
<p class="soft">Run {{ report.run_id }}: {{ report.scenario or "a run" }}
{{- ", stage " ~ report.stage if report.stage }} of {{ report.project or "a project" }}</p>
<h1 class="{{ tone("open" if report.undone_by else report.state) }}">{{ report.headline }}</h1>
<p>{{ report.way }}.{{ " It undoes run " ~ report.undo_of ~ "." if report.undo_of }}
Reason: {{ report.reason }}</p>
{% for undo in report.undos %}
<p class="open">{{ undo_text(undo, report) }}
<a href="../{{ undo.run_id }}/report.html">Its report</a> is beside this one.</p>
{% endfor %}
</header>
<main>
{% for host in report.hosts if host.failure %}
<h2>What went wrong{{ on(host) }}</h2>
{{ pairs(failure_rows(host)) }}
{% endfor %}
{% if report.commands %}
<h2>What to type next</h2>
{% for command in report.commands %}<p>{{ command.why }}:</p><pre>{{ command.command }}</pre>{% endfor %}
{% endif %}
<h2>Recovery</h2>
{{ table(["Moment", "Time"], moment_rows(report)) }}
<ul>{% for line in report.recovery %}<li>{{ line }}</li>{% endfor %}</ul>
<h2>Who decided</h2>
{{ pairs(decision_rows(report)) }}
{% for host in report.hosts %}
<h2>Timeline{{ on(host) }}</h2>
<p class="soft">{{ timeline_words(host) }}</p>
{{ drawing(chart(host)) }}
{% if host.notes %}<ul>{% for line in host.notes %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
{{ table(["Step", "Runbook", "Began", "Took", "What came of it"], step_rows(host)) }}
<details><summary>What was planned</summary>{{ table(["Step", "Planned"], plan_rows(host)) }}</details>
<h2>What was checked{{ on(host) }}</h2>
{% if host.checks %}
{{ table(["Verdict", "Check", "Seen", "Wanted", "After"], check_rows(host)) }}
{% else %}<p>Nothing was checked.</p>{% endif %}
<h2>Versions{{ on(host) }}</h2>
<p>Checkout: {{ host.commit_before }} before, {{ host.commit_after }} after. {{ host.runs_now }}</p>
{% if host.versions %}{{ table(["Service", "Before", "After", "State"], version_rows(host)) }}{% endif %}
<h2>Database{{ on(host) }}</h2>
{% if host.database %}{{ pairs(database_rows(host.database)) }}
{% else %}<p>This run did not touch a database.</p>{% endif %}
<h2>Kept{{ on(host) }}</h2>
{% if host.kept %}
<ul>{% for line in host.kept %}<li>{{ line }}</li>{% endfor %}</ul>
<p class="soft">It is kept {{ host.kept_until }}.</p>
{% else %}<p>Nothing: the run had not come so far.</p>{% endif %}
<h2>For people to check{{ on(host) }}</h2>
{% if host.checklist %}{{ table(["State", "What", "By", "Note"], checklist_rows(host)) }}
{% else %}<p>The inventory names no manual checks.</p>{% endif %}
{% if host.follow_up %}
<h2>To be done after the run{{ on(host) }}</h2>
<p class="soft">{{ follow_up_sum(host) }}</p>
{{ table(["State", "What", "Owner", "Due", "Done", "Note"], follow_up_rows(host)) }}
{% endif %}
<h2>Who was told{{ on(host) }}</h2>
{% if undelivered(host.messages) %}
<p class="bad">Not delivered: {{ undelivered(host.messages) | length }} of {{ host.messages | length }} messages.</p>
{% endif %}
{% if host.messages %}{{ table(["State", "By", "To", "Message"], message_rows(host)) }}
{% else %}<p>Nobody, or another host did it.</p>{% endif %}
{% endfor %}
</main>
</body>
</html>
"""
_TONES = {
    "succeeded": "good", "passed": "good", "done": "good", "sent": "good",
    "failed": "bad", "unreadable": "bad", "kept": "bad", "late": "bad",
    "unfinished": "open", "inconclusive": "open", "open": "open", "planned": "open",
}  # fmt: skip


class ChartRow(NamedTuple):
    """One step of the chart, in percent of its width; ``width`` is 0 for a step that did not begin."""

    label: str
    x: float
    width: float
    target: float | None
    state: str


# --- the rows of tables ----------------------------------------------------------------------------------------------


def failure_rows(host: HostReport) -> list[tuple[str, str]]:
    """Return what happened, what is untouched, what runs, and what to do."""
    told = host.failure
    if told is None:
        return []
    return [("What happened", told.what), ("What is untouched", told.untouched), ("What runs now", host.runs_now),
            ("What to do next", told.next_step)]  # fmt: skip


def moment_rows(report: Report) -> list[tuple[str, str]]:
    """Return the moments of the recovery."""
    return [(one.name, moment_text(one.time) if one.time else "unknown") for one in report.moments]


def decision_rows(report: Report) -> list[tuple[str, str]]:
    """Return who decided, and why."""
    return [
        ("Condition", report.approval.condition or "none was named"),
        ("Approved by", approved_by(report)),
        ("Started", report.started_by),
        ("Incident channel", report.incident or "not named"),
    ]


def timeline_words(host: HostReport) -> str:
    """Return how the chart is read, and what is special about this journal."""
    words = (
        "Bars are what happened, dots when the runbook wants a step to begin. The axis is stretched at its beginning."
    )
    words += f" The run was gone on with {host.resumed} time(s)." if host.resumed else ""
    return words + (f" Damaged lines of the journal, left out: {host.damaged_lines}." if host.damaged_lines else "")


def step_rows(host: HostReport) -> list[tuple[str, ...]]:
    """Return the steps with their times."""
    return [
        (_name(step), _clock(step.target), _clock(step.began), _seconds(step.seconds), step.outcome)
        for step in host.steps
    ]


def plan_rows(host: HostReport) -> list[tuple[str, ...]]:
    """Return what each step was to do."""
    return [(_name(step), "; ".join(step.planned)) for step in host.steps]


def check_rows(host: HostReport) -> list[tuple[str, ...]]:
    """Return the checks, those that did not pass first."""
    rows = sorted(host.checks, key=lambda check: check.verdict == "passed")
    return [
        (f"{check.verdict}{'' if check.decides else '; does not decide'}", check.name, check.seen, check.limit,
         _seconds(check.seconds))
        for check in rows
    ]  # fmt: skip


def version_rows(host: HostReport) -> list[tuple[str, ...]]:
    """Return the images of each service."""
    return [
        (one.service, f"{one.before} {one.before_id}".strip(), f"{one.after} {one.after_id}".strip(), one.state)
        for one in host.versions
    ]


def database_rows(database: Database) -> list[tuple[str, str]]:
    """Return the numbers of the database; what is not known is left out."""
    backup = f"{database.backup}, taken {database.taken_at or 'at an unknown time'}" if database.backup else ""
    switched = f"{database.cutover_milliseconds:.0f} ms" if database.cutover_milliseconds is not None else ""
    rows = [
        ("Database", database.name),
        ("Decision", f"{database.decision}: {database.reason}" if database.reason else database.decision),
        ("Backup", backup),
        ("Rows counted", f"{database.rows:,}" if database.rows is not None else ""),
        ("Lost", database.lost),
        ("Change of names", switched),
        ("Former database", f"kept as {database.kept}, frozen" if database.kept else ""),
    ]
    return [row for row in rows if row[1]]


def checklist_rows(host: HostReport) -> list[tuple[str, ...]]:
    """Return what people have to look at."""
    return [(item.state, item.name, item.by, item.note) for item in host.checklist]


def follow_up_rows(host: HostReport) -> list[tuple[str, ...]]:
    """Return what is to be done after a run, until when, and who has done it."""
    return [
        (one.state, one.name, one.owner, one.due, f"by {one.by}, {moment_text(one.at)}" if one.at else "",
         "; ".join(filter(None, [one.note, f"issue {one.issue}" if one.issue else ""])))
        for one in host.follow_up
    ]  # fmt: skip


def message_rows(host: HostReport) -> list[tuple[str, ...]]:
    """Return who was told."""
    return [
        (f"{one.state}: {one.why}" if one.why else one.state, one.notifier, one.audience, one.subject)
        for one in host.messages
    ]


def _name(step: StepReport) -> str:
    return f"{step.number} {step.title}".strip()


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else clock(seconds)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


# --- the page --------------------------------------------------------------------------------------------------------


def tone(word: str) -> str:
    """Return the class of a word such as a verdict; what begins with ``failed`` is bad."""
    return _TONES.get(re.split("[:;]", word, maxsplit=1)[0], "")


def chart(host: HostReport) -> dict[str, Any]:
    """Return the drawing of the steps of a host: rows and ticks, in percent of the width, which a page chooses."""
    ends = [step.began + (step.seconds or 0) for step in host.steps if step.began is not None]
    last = max([*ends, *(step.target or 0 for step in host.steps), _TICKS[1]])

    def at(seconds: float) -> float:
        part = math.log1p(seconds / _HALF) / math.log1p(last / _HALF)
        return round(1 + part * 98, 1)

    rows = []
    for step in host.steps:
        begun = step.began is not None
        began, seconds = step.began or 0.0, step.seconds or 0.0
        rows.append(
            ChartRow(
                label=_name(step),
                x=at(began),
                width=max(_NARROWEST, round(at(began + seconds) - at(began), 1)) if begun else 0,
                target=None if step.target is None else at(step.target),
                state=step.state,
            )
        )
    return {"rows": rows, "ticks": _ticks({seconds: at(seconds) for seconds in _TICKS if seconds <= last})}


def _ticks(places: dict[int, float]) -> list[dict[str, Any]]:
    """Return the labels of the axis; where there is little room those that are ``fine`` are not shown."""
    ticks: list[dict[str, Any]] = []
    free = 0.0
    for seconds, place in places.items():
        fine = place < free
        free = free if fine else place + _APART
        anchor = "start" if place < _EDGE else "end" if place > 100 - _EDGE else "middle"
        ticks.append({"x": place, "label": _tick(seconds), "fine": fine, "anchor": anchor})
    return ticks


def _tick(seconds: int) -> str:
    units = ((3600, "h"), (60, "min"))
    return next((f"{seconds // size} {unit}" for size, unit in units if seconds >= size), f"{seconds} s")


def report_html(report: Report) -> str:
    """Return the page. The same report gives the same bytes."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    several = len(report.hosts) > 1
    rows = (failure_rows, moment_rows, decision_rows, timeline_words, step_rows, plan_rows, check_rows, version_rows,
            database_rows, checklist_rows, follow_up_rows, follow_up_sum, message_rows, tone, chart, undelivered,
            undo_text)  # fmt: skip
    environment.globals.update({function.__name__: function for function in rows})
    environment.globals["on"] = lambda host: f" on {host.host}" if several else ""
    page: str = environment.from_string(_TEMPLATE).render(report=report)
    return page
