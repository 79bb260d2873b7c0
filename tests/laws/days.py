"""Days of a model with a daily rhythm, as an installation sees them: what is said before and after a day is learned.

``python -m tests.laws.days --days 4 --seed 1`` plays ingest, analyse and alert over accelerated event time and prints
drift findings and alerts by the day; ``--learn ""`` without learning on, ``--shift-day 2`` with a real drift.
"""

import argparse
import json
import resource
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.registry import REGISTRY
from schemas.findings import Finding, Kind, Severity
from streams.config import Settings
from streams.rehearsal import Rehearsed, Step, record, rehearse
from streams.stage import Batch

DAY_MS = 24 * 3_600_000
START_MS = 1_760_000_000_000 // DAY_MS * DAY_MS + 9 * 3_600_000
"""Nine in the morning: the first minutes are like no mean of the day."""
DRIFT = frozenset({Kind.DRIFT, Kind.SCORE_DRIFT, Kind.CATEGORY_DRIFT, Kind.CONCEPT_DRIFT})
_MINUTES = 1_440


@dataclass(frozen=True, slots=True)
class World:
    """``events`` a minute on average, more by day; amount, score and country follow the hour by ``sigmas``.

    From ``shift_at`` days on amount and score are ``shift`` standard deviations higher; ``fault`` is a span of days in
    which the amount is four higher.
    """

    seed: int
    days: float = 4.0
    events: float = 120.0
    sigmas: float = 0.5
    shift_at: float = 1e9
    shift: float = 1.0
    fault: tuple[float, float] = (1e9, 1e9)


def steps(world: World) -> Iterator[Step]:
    """Minute by minute."""
    rng = np.random.default_rng(world.seed)
    offset = 0
    for minute in range(int(world.days * _MINUTES)):
        at, start = minute / _MINUTES, START_MS + minute * 60_000
        phase = 2 * np.pi * ((START_MS % DAY_MS) / DAY_MS + at)
        evening = world.sigmas * float(np.sin(phase - 2 * np.pi * 13 / 24))
        count = int(rng.poisson(world.events * (1 + 0.5 * np.sin(phase - 2 * np.pi * 9 / 24))))
        ts = np.sort(rng.integers(start, start + 60_000, count))
        faulty = world.fault[0] <= at < world.fault[1]
        moved = evening + (world.shift if at >= world.shift_at else 0.0)
        amount = np.exp(rng.normal(3 + moved + 4 * faulty, 1, count))
        score = 1 / (1 + np.exp(-rng.normal(-2 + moved, 1, count)))
        steady = rng.normal(size=count)
        abroad = rng.random(count) < 0.3 + 0.3 * evening
        latency = np.exp(rng.normal(3, 0.3, count))
        values = [
            json.dumps(
                {
                    "ts_ms": int(ts[i]), "event_id": f"{minute}-{i}", "model": "m", "model_version": "1",
                    "latency_ms": float(latency[i]), "status": "ok", "score": float(score[i]),
                    "features": {
                        "amount": float(amount[i]), "steady": float(steady[i]), "country": "FR" if abroad[i] else "DE"
                    },
                }
            ).encode()
            for i in range(count)
        ]  # fmt: skip
        records = [record("predictions", 0, offset + i, int(ts[i]), raw) for i, raw in enumerate(values)]
        offset += count
        yield Step(start + 60_000, [Batch("predictions", 0, records, offset)] if records else [])


def play(world: World, learn_days: Sequence[int], window_s: int = 300) -> Rehearsed:
    """Ingest, analyse and alert over the world's days; drift is looked at in windows of ``window_s``."""
    detect = {kind: {"window_s": window_s} for kind, spec in REGISTRY.items() if _takes(spec.params, window_s)}
    sections = {
        "time": {"pane_s": 60},
        "topics": {"partitions": 1},
        "baseline": {"learn_days": tuple(learn_days)},
        "detect": detect,
    }
    return rehearse(Settings(**sections), steps(world), idle_closes=False)  # type: ignore[arg-type]


def _takes(params: Any, window_s: int) -> bool:
    try:
        params(window_s=window_s)
    except (TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of drift by the day: windows with a finding, quantities that fire, and alerts that begin."""

    windows: list[int]
    findings: list[int]
    alerts: list[int]

    @classmethod
    def of(cls, played: Rehearsed, days: float) -> "Told":
        """Count it."""
        fired = [m for m in played.findings if isinstance(m, Finding) and m.firing and m.kind in DRIFT]
        findings = Counter((f.window_start_ms - START_MS) // DAY_MS for f in fired)
        windows = Counter((start - START_MS) // DAY_MS for start in {f.window_start_ms for f in fired})
        begun = {
            event.alert.id: event.starts_ms for event in played.events
            if event.published and event.alert.labels["alertname"] == "HalcyonModelDrift"
            and event.severity is not Severity.INFO
        }  # fmt: skip
        alerts = Counter((start - START_MS) // DAY_MS for start in begun.values())
        whole = range(int(np.ceil(days)))
        return cls([windows[d] for d in whole], [findings[d] for d in whole], [alerts[d] for d in whole])


def first_after(played: Rehearsed, at_days: float, quantity: str) -> float | None:
    """Minutes from a moment until drift of a quantity fires that did not fire just before it."""
    moment = START_MS + at_days * DAY_MS
    fired = [
        f.window_start_ms for f in played.findings
        if isinstance(f, Finding) and f.firing and f.kind in DRIFT and f.quantity == quantity
    ]  # fmt: skip
    late = [start for start in fired if start >= moment - 60_000]
    before = [start for start in fired if moment - 600_000 <= start < moment - 60_000]
    return None if before or not late else (min(late) + 60_000 - moment) / 60_000


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=float, default=4.0)
    parser.add_argument("--events", type=float, default=120.0)
    parser.add_argument("--sigmas", type=float, default=0.5)
    parser.add_argument("--learn", default="1,7")
    parser.add_argument("--window-s", type=int, default=300)
    parser.add_argument("--shift-day", type=float, default=1e9)
    parser.add_argument("--shift", type=float, default=1.0)
    parser.add_argument("--fault", default="")
    given = parser.parse_args()
    fault = tuple(float(x) for x in given.fault.split(",")) if given.fault else (1e9, 1e9)
    world = World(
        given.seed, given.days, given.events, given.sigmas, given.shift_day, given.shift, (fault[0], fault[1])
    )
    played = play(world, [int(x) for x in given.learn.split(",") if x], given.window_s)
    told = Told.of(played, world.days)
    _say(
        f"seed {world.seed}, learn_days {given.learn!r}: windows with drift {told.windows}, findings {told.findings}, "
        f"alerts that begin {told.alerts}"
    )
    by = Counter(
        (f.detector, f.quantity, int((f.window_start_ms - START_MS) // DAY_MS))
        for f in played.findings
        if isinstance(f, Finding) and f.firing
    )
    _say("  ", sorted(by.items(), key=lambda item: (item[0][2], item[0])))
    if world.shift_at < world.days:
        found = {name: first_after(played, world.shift_at, name) for name in ("score", "features.amount")}
        _say("   minutes to the drift:", found)
    _say("   CPU s:", round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 1))


if __name__ == "__main__":
    main()
