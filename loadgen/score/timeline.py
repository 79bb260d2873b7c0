"""A run as a picture: what was injected into each entity, and what was said about it, over event time.

SVG by hand: nothing is loaded from elsewhere, and colours follow the paper it is read on. Nothing is told by colour
alone: shapes tell severities, outlines and words tell what was missed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from loadgen.score.episodes import Episode, loudness, word
from loadgen.score.run import Run
from loadgen.score.scorecard import FaultScore, Judged, Judgement
from loadgen.truth import Expectation
from schemas.alerts import rfc3339
from schemas.findings import Severity

_WIDTH: Final = 1000
_LEFT: Final = 150
_RIGHT: Final = 26
_TOP: Final = 58
_BAND: Final = 22
_ALERTS: Final = 20
_GAP: Final = 14
_AXIS: Final = 34
_LETTER: Final = 6.6
"""Width of a letter, px, by which it is decided whether a name fits: that of a wide font."""
_TICKS_MIN: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)
_MOST_TICKS: Final = 12
_LIGHT: Final = {"ink": "#1f2328", "dim": "#656d76", "line": "#d0d7de", "good": "#1a7f37", "bad": "#cf222e"}
_DARK: Final = {"ink": "#e6edf3", "dim": "#9198a1", "line": "#3d444d", "good": "#3fb950", "bad": "#f85149"}
_SHAPING: Final = """\
text{font:12px ui-sans-serif,system-ui,sans-serif}
.title{font-size:14px;font-weight:600}.small,.name{font-size:11px}.lost{font-weight:600}
.band{stroke-width:1.5}
.found{fill-opacity:.28}.may{fill-opacity:.15;stroke-dasharray:2 3}.near{fill-opacity:0;stroke-dasharray:6 4}
.alerted{fill-opacity:.14;stroke-dasharray:6 4}
.lasts{stroke-width:3;stroke-opacity:.4}
.hatch{stroke-width:1.5;stroke-opacity:.5}"""
_COLOURING: Final = """\
text{fill:%(ink)s}.dim{fill:%(dim)s}.lost{fill:%(bad)s}.grid,.hatch{stroke:%(line)s}.hatch{stroke:%(bad)s}
.found,.true{fill:%(good)s;stroke:%(good)s}.alerted,.false{fill:%(bad)s;stroke:%(bad)s}
.missed{fill:url(#missed);stroke:%(bad)s}.may,.near,.other{fill:%(dim)s;stroke:%(dim)s}"""
# Plain colours twice: many a viewer knows no variables.
_STYLE: Final = f"{_SHAPING}\n{_COLOURING % _LIGHT}\n@media (prefers-color-scheme:dark){{{_COLOURING % _DARK}}}"
_MISSED: Final = (
    '<defs><pattern id="missed" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
)
_SHAPES: Final = {
    Severity.PAGE.value: "M0-7 7 6H-7Z",
    Severity.TICKET.value: "M0-5.5 5.5 0 0 5.5-5.5 0Z",
}
"""A page is a triangle, a ticket a diamond, anything quieter a dot."""
_DOT: Final = "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0Z"
_STATES: Final = {Judgement.DETECTS: "true", Judgement.COLLATERAL: "other", Judgement.TOLERATED: "other"}
_LEGEND: Final = (
    ("found", "fault, detected", 118), ("missed", "fault, missed", 108), ("may", "may alert", 88),
    ("near", "near miss, quiet", 120), ("alerted", "near miss, alerted", 132),
)  # fmt: skip


def svg(run: Run, title: str = "") -> str:
    """The run as SVG, 1000 px wide: per entity a lane of injections, and the alerts below it."""
    scale = _Scale(run.watched.start_ms, run.watched.end_ms)
    parts: list[str] = []
    y = _TOP
    for entity in run.watched.entities:
        drawn, height = _lane(run, entity, scale, y)
        parts += drawn
        y += height + _GAP
    height = y + _AXIS
    name = escape(title or _title(run))
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name}">',
        f"<style>{_STYLE}</style>{_MISSED}",
        f'<text class="title" x="8" y="20">{name}</text>',
        *_legend(),
        *_axis(scale, y),
    ]
    return "\n".join([*head, *parts, "</svg>\n"])


@dataclass(frozen=True, slots=True)
class _Scale:
    """Event time → px."""

    start_ms: int
    end_ms: int

    def x(self, at_ms: int) -> float:
        """Where a time stands; times outside stand at the edge."""
        share = (min(max(at_ms, self.start_ms), self.end_ms) - self.start_ms) / (self.end_ms - self.start_ms)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Places and names, at whole multiples of a round span since the start."""
        minutes = (self.end_ms - self.start_ms) / 60_000
        step = next((step for step in _TICKS_MIN if minutes / step <= _MOST_TICKS), _TICKS_MIN[-1])
        for minute in range(0, int(minutes) + 1, step):
            name = f"{minute} min" if minutes <= 180 else f"{minute // 60}:{minute % 60:02d} h"
            yield self.x(self.start_ms + minute * 60_000), name


def _lane(run: Run, entity: str, scale: _Scale, y: int) -> tuple[list[str], int]:
    """The drawing of an entity from ``y`` px on, and its height."""
    faults = [fault for fault in run.card.faults if fault.truth.entity == entity]
    alerts = [judged for judged in run.card.alerts if judged.episode.entity == entity]
    rows = _rows(faults)
    height = _BAND * max(1, max(rows, default=0) + 1) + _ALERTS
    parts = [f'<text x="{_LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(_short(entity))}</text>']
    for fault, row in zip(faults, rows, strict=True):
        parts.append(_band(fault, scale, y + row * _BAND))
    middle = y + height - _ALERTS // 2
    parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{middle}" y2="{middle}"/>')
    parts += [_lasting(judged, scale, middle) for judged in alerts]
    parts += [_mark(judged, scale, middle) for judged in alerts]
    return parts, height


def _rows(faults: Sequence[FaultScore]) -> list[int]:
    """A row for each injection, so that those which overlap do not cover each other."""
    free: list[int] = []
    rows = []
    for fault in faults:
        row = next((row for row, until_ms in enumerate(free) if until_ms <= fault.truth.onset_ms), len(free))
        free[row : row + 1] = [fault.truth.end_ms]
        rows.append(row)
    return rows


def _band(fault: FaultScore, scale: _Scale, y: int) -> str:
    truth = fault.truth
    first, last = scale.x(truth.onset_ms), scale.x(truth.end_ms)
    width = max(last - first, 2)
    state = _state(fault)
    words = f"{truth.name} ({truth.injected})" if truth.injected else truth.name
    fate = {
        "found": f"detected as {fault.kind} ({word(fault.severity)}) after {fault.delay_s or 0:.0f} s",
        "missed": f"missed: {', '.join(kind.value for kind in truth.kinds)} expected"
        + (f", an info of {fault.kind} alone" if fault.detected else ""),
        "may": "may alert" + (f", did as {fault.kind}" if fault.detected else ", did not"),
        "near": "near miss, quiet",
        "alerted": f"near miss, alerted as {fault.kind}",
    }[state]
    name = ("× " if state == "missed" else "") + truth.name
    room = int((width - 8) / _LETTER)
    shown = escape(name if len(name) <= room else name[: max(room - 1, 0)] + "…")
    style = "name lost" if state == "missed" else "name"
    label = f'<text class="{style}" x="{first + 4:.1f}" y="{y + 13.5}">{shown}</text>' if room > 1 else ""
    return (
        f"<g><title>{escape(f'{words}: {fate}')}</title>"
        f'<rect class="band {state}" x="{first}" y="{y + 1}" width="{width:.1f}" height="{_BAND - 5}" rx="2"/>'
        f"{label}</g>"
    )


def _state(fault: FaultScore) -> str:
    if fault.truth.expectation is Expectation.MUST_NOT:
        return "alerted" if fault.told else "near"
    if fault.truth.expectation is Expectation.MAY:
        return "may"
    return "found" if fault.told else "missed"


def _lasting(judged: Judged, scale: _Scale, y: int) -> str:
    episode = judged.episode
    first, last = scale.x(episode.first.at_ms), scale.x(_last_ms(episode, scale.end_ms))
    return f'<line class="lasts {_fate(judged)}" x1="{first}" x2="{last}" y1="{y}" y2="{y}"/>'


def _mark(judged: Judged, scale: _Scale, y: int) -> str:
    episode = judged.episode
    said = f"{word(episode.severity)} {', '.join(episode.first.kinds)} at {rfc3339(episode.first.at_ms)[11:19]}"
    about = f", {judged.truth}" if judged.truth else ""
    words = f"{said}: {judged.judgement.replace('_', ' ')}{about}. {episode.summary}"
    x = scale.x(episode.first.at_ms)
    return (
        f'<g transform="translate({x} {y})"><title>{escape(words)}</title>'
        f'<path class="{_fate(judged)}" d="{_SHAPES.get(episode.severity, _DOT)}"/></g>'
    )


def _fate(judged: Judged) -> str:
    return _STATES.get(judged.judgement, "false")


def _last_ms(episode: Episode, end_ms: int) -> int:
    return end_ms if episode.end_ms is None else episode.end_ms


def _legend() -> list[str]:
    parts, x = [], 8
    for state, words, width in _LEGEND:
        parts.append(f'<rect class="band {state}" x="{x}" y="32" width="16" height="11" rx="2"/>')
        parts.append(f'<text class="small dim" x="{x + 21}" y="42">{words}</text>')
        x += width
    for severity in (Severity.PAGE.value, Severity.TICKET.value, Severity.INFO.value):
        shape = _SHAPES.get(severity, _DOT)
        parts.append(f'<path class="other" transform="translate({x + 7} 38)" d="{shape}"/>')
        parts.append(f'<text class="small dim" x="{x + 18}" y="42">{word(severity)}</text>')
        x += 60
    for state, words in (("true", "true"), ("other", "neither"), ("false", "false")):
        parts.append(f'<path class="{state}" transform="translate({x + 7} 38)" d="{_SHAPES["warning"]}"/>')
        parts.append(f'<text class="small dim" x="{x + 17}" y="42">{words}</text>')
        x += 64
    return parts


def _axis(scale: _Scale, y: int) -> list[str]:
    parts = []
    for x, name in scale.ticks():
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP - 6}" y2="{y}"/>')
        parts.append(f'<text class="small dim" x="{x}" y="{y + 16}" text-anchor="middle">{name}</text>')
    return parts


def _title(run: Run) -> str:
    named = f"{run.scenario}, seed {run.seed}: " if run.scenario else ""
    must = run.card.of(Expectation.MUST)
    found = sum(fault.told for fault in must)
    false = sum(judged.false and loudness(judged.episode.severity) > 0 for judged in run.card.alerts)
    return f"{named}{found} of {len(must)} faults detected, {false} false pages and tickets"


def _short(entity: str) -> str:
    return entity if len(entity) <= 20 else entity[:19] + "…"
