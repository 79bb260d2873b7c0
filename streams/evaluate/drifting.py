"""Streams with known drift, and without: who sees it, how late, and who sees it where there is none."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.adapters.river_streams import STREAMS, drift_stream
from streams.errors import ConfigError
from streams.evaluate.account import Outcome, on_windows, outcome
from streams.evaluate.contenders import Contender
from streams.evaluate.running import Scored, run
from streams.evaluate.series import LabelledSeries
from streams.evaluate.tally import Tally, total

STEP_MS: Final = 1_000
"""Between the rows of a stream: one a second."""
FIRST: Final = 120
"""Windows before which nothing counts: the baselines are made of the first, and a window's past must be known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which streams, how long, how often, in windows of how many rows."""

    streams: Sequence[str] = tuple(STREAMS)
    rows: int = 120_000
    window_rows: int = 200
    seeds: Sequence[int] = (1, 2, 3)


def known(names: Sequence[str]) -> tuple[str, ...]:
    """The kinds of streams of these names, all when empty; raises ConfigError where there is none of a name."""
    unknown = [name for name in names if name not in STREAMS]
    if unknown:
        raise ConfigError(f"There is no stream {', '.join(unknown)}.", todo=f"Give some of {', '.join(STREAMS)}.")
    return tuple(names) or tuple(STREAMS)


def streams(plan: Plan) -> Iterator[tuple[str, LabelledSeries]]:
    """(kind, stream) for each kind and seed; its windows are the rows from each drift until the next, or the end."""
    for kind in plan.streams:
        for seed in plan.seeds:
            made = drift_stream(kind, plan.rows, seed)
            drifts = np.column_stack((made.onsets, made.until - 1)).astype(np.int64)
            ts_ms = np.arange(plan.rows, dtype=np.int64) * STEP_MS
            yield kind, LabelledSeries(f"{kind}-{seed}", ts_ms, made.error, drifts)


def compare(
    contenders: Sequence[Contender], plan: Plan, told: Callable[[str], None] = lambda _: None
) -> dict[str, list[Outcome]]:
    """Stream kind → outcome of each contender that has a threshold, over all seeds."""
    tallies: dict[tuple[str, str], list[tuple[Tally, Scored]]] = {}
    ready = [contender for contender in contenders if contender.threshold is not None]
    for kind, stream in streams(plan):
        told(stream.name)
        for contender in ready:
            scored = run(contender, stream, plan.window_rows)
            drifts = stream.windows
            counted = on_windows(scored, contender.threshold or 0.0, drifts, plan.window_rows, FIRST)
            tallies.setdefault((kind, contender.name), []).append((counted, scored))
    windows = len(plan.seeds) * plan.rows // plan.window_rows
    return {
        kind: [_outcome(contender, tallies[kind, contender.name], windows) for contender in ready]
        for kind in plan.streams
    }


def _outcome(contender: Contender, parts: Sequence[tuple[Tally, Scored]], windows: int) -> Outcome:
    counted = total(part for part, _ in parts)
    return outcome(contender, contender.threshold or 0.0, counted, [scored for _, scored in parts], windows)
