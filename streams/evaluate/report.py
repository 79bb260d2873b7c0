"""Outcomes for people and for machines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.table import Table

from streams.evaluate.account import NabScore, Outcome

_OUTCOME = ("found", "recall", "precision", "delay p50", "alarms", "false per 10,000", "CPU µs a window")


def to_json(told: Mapping[str, Any]) -> bytes:
    """For machines; what there is no number for is null."""
    return msgspec.json.format(msgspec.json.encode(told), indent=2)


def of_outcomes(title: str, outcomes: Sequence[Outcome]) -> Table:
    """One row per detector."""
    table = _table(title, ("detector", *_OUTCOME))
    for one in outcomes:
        table.add_row(one.detector, *_cells(one))
    return table


def of_nab(scores: Sequence[NabScore]) -> tuple[Table, Table]:
    """The benchmark's scores, best first, and beneath them what the alarms were."""
    ordered = sorted(scores, key=lambda score: -score.by_alarms["standard"])
    profiles = tuple(ordered[0].by_rows) if ordered else ()
    headings = ("detector", *(f"{name}, rows" for name in profiles[:1]), *profiles, "fixed threshold", "odd", "even")
    first = _table("NAB, normalised: 0 says nothing, 100 is perfect", headings)
    for one in ordered:
        fixed = "-" if one.fixed is None else _number(one.fixed["standard"])
        rows = [_number(one.by_rows[name]) for name in profiles[:1]]
        alarms = [_number(one.by_alarms[name]) for name in profiles]
        first.add_row(one.detector, *rows, *alarms, fixed, _number(one.odd), _number(one.even))
    return first, of_outcomes("At the fixed threshold; the best one where there is none", [o.outcome for o in ordered])


def of_noise(detector: str, told: Mapping[str, Mapping[str, float]]) -> Table:
    """False alarms per 10,000 rows: kind of noise → threshold → how many."""
    table = _table(f"{detector}: false alarms per 10,000 rows, by threshold", ("noise", *next(iter(told.values()))))
    for kind, by_threshold in told.items():
        table.add_row(kind, *(_number(number) for number in by_threshold.values()))
    return table


def _cells(one: Outcome) -> list[str]:
    return [
        f"{one.found} of {one.anomalies}",
        _number(one.recall, 2),
        _number(one.precision, 2),
        _number(one.delay_p50, 0),
        str(one.alarms),
        _number(one.false_per_10000),
        _number(one.cpu_us),
    ]


def _number(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "detector" else "right", overflow="fold")
    return table
