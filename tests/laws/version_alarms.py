"""False alarms of versions side by side, where none is worse, and how soon one that is worse is found.

``python -m tests.laws.version_alarms [minutes]`` plays that many minutes (500) of 100 models of two versions at each
volume: errors that are independent, that come in fours, and that both versions have together for ten minutes in an
hour; then a smaller version that fails more often from its first event on.
"""

import sys
from typing import Final, Literal

import numpy as np

from detectors.decision import DecisionBank
from detectors.registry import make
from schemas.scopes import Family, Scope
from tests.laws.world import Seen, World

MODELS: Final = 100
Pattern = Literal["independent", "in fours", "together"]
PATTERNS: Final[tuple[Pattern, ...]] = ("independent", "in fours", "together")
VOLUMES: Final = ((200, 25), (2_000, 250), (2_000, 2_000), (20_000, 2_500))
"""Events a minute of the larger version, and of the smaller one."""
RATIO: Final = 0.01


def begun(
    rows: tuple[int, int], minutes: int, pattern: Pattern = "independent", worse: float = RATIO, seed: int = 1
) -> list[int]:
    """The minutes in which findings began; ``worse`` is the share of errors of the smaller version."""
    rng, detector, bank = np.random.default_rng(seed), make("versions"), DecisionBank()
    keys = [Scope(Family.PREDICTION, f"m{i:03}", version) for i in range(MODELS) for version in "12"]
    world = World(dict.fromkeys(keys))
    size, found = np.tile(rows, MODELS), []
    for minute in range(minutes):
        ratio = np.tile((RATIO, worse), MODELS)
        if pattern == "together" and minute % 60 >= 50:
            ratio = ratio * 20
        errors = rng.binomial(size, ratio) if pattern != "in fours" else 4 * rng.binomial(size // 4, ratio)
        seen = {key: Seen(int(n), errors=int(k)) for key, n, k in zip(keys, size, errors, strict=True)}
        batch = world.window(seen, minute * 60_000)
        began = bank.decide(detector.step(batch), batch.start_ms, batch.size_ms).started
        found += [minute] * int(began.sum())
    return found


def main() -> None:
    """Play all of it, and print what came."""
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    for rows in VOLUMES:
        for pattern in PATTERNS:
            alarms = len(begun(rows, minutes, pattern))
            sys.stdout.write(f"{rows}: {pattern}: {alarms} findings in {MODELS * minutes:,} minutes\n")
        for worse in (0.04, 0.07, 0.2):
            found = begun(rows, 30, worse=worse)
            delay = f"{float(np.median(found)) + 1:.0f} min" if found else "never"
            sys.stdout.write(f"{rows}: {worse:.0%} errors beside {RATIO:.0%}: {len(found)} of {MODELS}, {delay}\n")


if __name__ == "__main__":
    main()
