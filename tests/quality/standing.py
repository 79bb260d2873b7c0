"""Where detection stands, by kind of injection; the standing that was committed; and whether this one is worse."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from loadgen.score.run import Run
from loadgen.score.totals import ALL, KindScore, account

BASELINE: Final = Path(__file__).with_name("baseline.json")
RECALL_TOLERANCE: Final = 0.05
"""How much less may be found: no kind is injected so often that this lets a whole fault go in the fast subset."""
DELAY_TOLERANCE: Final = (60.0, 0.25)
"""How much later it may be found: a window, and a quarter of the delay."""
FALSE_TOLERANCE: Final = (0.5, 0.1)
"""How much more may be said for nothing: half an alert in the kind's time, and a tenth of what there was."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A kind: ``injected`` and ``found`` over all seeds, medians over the seeds for the rest.

    Shares are 0…1, None where there is nothing to divide by; see KindScore.
    """

    injected: int
    found: int
    must: float
    recall: float | None
    quiet: float
    delay_p50_s: float | None
    near_misses: float
    near_misses_alerted: float
    model_days: float
    false_per_model_day: float | None


class Standing(msgspec.Struct, frozen=True):
    """What was played, and how it went by kind; ``(all)`` and ``(nothing injected)`` are kinds too."""

    scenarios: tuple[str, ...]
    seeds: tuple[int, ...]
    kinds: dict[str, Row]


class Baseline(msgspec.Struct, frozen=True):
    """What was committed: the whole suite, and the fast subset that every change is compared with."""

    whole: Standing
    fast: Standing


def standing(runs: Sequence[Run]) -> Standing:
    """Medians over seeds, by kind."""
    seeds = tuple(sorted({run.seed for run in runs}))
    accounts = [account([run for run in runs if run.seed == seed]) for seed in seeds]
    scores: dict[str, list[KindScore]] = {}
    for each in accounts:
        for kind in (*each.kinds, each.total):
            scores.setdefault(kind.injection, []).append(kind)
    scenarios = tuple(sorted({run.scenario for run in runs}))
    return Standing(scenarios, seeds, {name: _row(of_seeds) for name, of_seeds in sorted(scores.items())})


def _row(scores: Sequence[KindScore]) -> Row:
    return Row(
        injected=sum(score.must for score in scores),
        found=sum(score.detected for score in scores),
        must=median(score.must for score in scores),
        recall=_median([score.recall for score in scores]),
        quiet=median(score.quiet for score in scores),
        delay_p50_s=_median([score.delay_p50_s for score in scores]),
        near_misses=median(score.near_misses for score in scores),
        near_misses_alerted=median(score.near_misses_alerted for score in scores),
        model_days=round(median(score.model_days for score in scores), 4),
        false_per_model_day=_median([score.false_per_model_day for score in scores]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 3) if known else None


def read(path: Path = BASELINE) -> Baseline:
    """The committed baseline."""
    return msgspec.json.decode(path.read_bytes(), type=Baseline)


def write(baseline: Baseline, path: Path = BASELINE) -> None:
    """Commit to a new one."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(baseline), indent=1) + b"\n")


def worse(now: Standing, before: Standing) -> list[str]:
    """What has become worse by more than the tolerances, one line each."""
    found = [f"{name} is no longer injected" for name in before.kinds.keys() - now.kinds.keys()]
    for name, row in now.kinds.items():
        if name in before.kinds:
            found += [f"{name}: {line}" for line in _worse(row, before.kinds[name])]
    return sorted(found)


def better(now: Standing, before: Standing) -> list[str]:
    """What has become better by more than the tolerances, or is new: reasons to raise the baseline."""
    found = [f"{name} is new" for name in now.kinds.keys() - before.kinds.keys()]
    for name, row in now.kinds.items():
        if name in before.kinds:
            found += [f"{name}: {line}" for line in _worse(before.kinds[name], row, word="was")]
    return sorted(found)


def _worse(row: Row, than: Row, word: str = "is") -> list[str]:
    found = []
    if than.recall is not None and (row.recall is None or row.recall < than.recall - RECALL_TOLERANCE):
        found.append(f"recall {word} {_text(row.recall)}, against {than.recall:.2f}")
    if row.quiet > than.quiet:
        found.append(f"found too quietly {word} {row.quiet:g}, against {than.quiet:g}")
    extra_s, extra_ratio = DELAY_TOLERANCE
    late_s, latest_s = row.delay_p50_s, _bound(than.delay_p50_s, extra_ratio, extra_s)
    if late_s is not None and latest_s is not None and late_s > latest_s:
        found.append(f"median delay {word} {late_s:.0f} s, against {than.delay_p50_s:.0f} s")
    alerts, more_ratio = FALSE_TOLERANCE
    false = row.false_per_model_day
    most = _bound(than.false_per_model_day, more_ratio, alerts / than.model_days if than.model_days else 0.0)
    if false is not None and most is not None and false > most:
        found.append(f"false alerts per model-day {word} {false:.1f}, against {than.false_per_model_day:.1f}")
    return found


def _bound(value: float | None, more_ratio: float, more: float) -> float | None:
    return None if value is None else value * (1 + more_ratio) + more


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def missed(kinds: Mapping[str, Row]) -> str:
    """What is not found, found too quietly, or said for nothing: a table in Markdown, worst first."""
    lines = [
        "| injected | found | median delay | too quiet | near misses that alert | false alerts per model-day |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    wanting = {name: row for name, row in kinds.items() if name == ALL or _is_wanting(row)}
    for name, row in sorted(wanting.items(), key=lambda item: (item[0] == ALL, _share(item[1]), item[0])):
        delay = "–" if row.delay_p50_s is None else f"{row.delay_p50_s:.0f} s"
        near = f"{row.near_misses_alerted:g} of {row.near_misses:g}" if row.near_misses else "–"
        found = f"{row.found} of {row.injected}" if row.injected else "–"
        quiet = f"{row.quiet:g} of {row.must:g}" if row.quiet else "–"
        lines.append(f"| {name} | {found} | {delay} | {quiet} | {near} | {row.false_per_model_day or 0:.1f} |")
    return "\n".join(lines)


def _is_wanting(row: Row) -> bool:
    said_for_nothing = row.near_misses_alerted > 0 or (row.false_per_model_day or 0) > 0
    return row.found < row.injected or row.quiet > 0 or said_for_nothing


def _share(row: Row) -> float:
    return row.found / row.injected if row.injected else 1.0
