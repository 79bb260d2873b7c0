"""Detectors on series: their scores and what they cost, kept under the cache folder for the next time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as once
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import detectors
from detectors import series as series_detectors
from detectors import state
from detectors.registry import REGISTRY
from streams.evaluate import banks, contenders
from streams.evaluate.contenders import Contender
from streams.evaluate.series import LabelledSeries

Floats = NDArray[np.float64]

CACHE: Final = Path(".cache/evaluate")
_KIND: Final = "scores"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Scored:
    """What one detector said about one series: ``score`` float64[n], NaN for nothing; and the CPU time it took."""

    score: Floats
    cpu_s: float


def run(contender: Contender, series: LabelledSeries, window_rows: int = 1, cache: Path | None = None) -> Scored:
    """Score a series from its first row, with a new detector.

    Parameters
    ----------
    window_rows
        Rows of a window, for detectors of windows.
    cache
        Where scores are looked for and kept, by detector, series and code of the detectors; None: neither.
    """
    path = None if cache is None else cache / f"{contender.name}-{_key(contender, series, window_rows)}.bin"
    if path is not None and path.is_file():
        kept = state.unpack(path.read_bytes(), _KIND, _VERSION)
        return Scored(kept["score"], float(kept["cpu_s"][0]))
    before_s = time.process_time()
    score = contender.make(window_rows).step(series.ts_ms, series.value)
    scored = Scored(score, time.process_time() - before_s)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(state.pack(_KIND, _VERSION, {"score": score, "cpu_s": np.array([scored.cpu_s])}))
    return scored


def run_all(
    contender: Contender,
    files: Sequence[LabelledSeries],
    window_rows: int = 1,
    cache: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> list[Scored]:
    """:func:`run` on each series; ``told`` hears which is next."""
    result = []
    for series in files:
        told(f"{contender.name}: {series.name}")
        result.append(run(contender, series, window_rows, cache))
    return result


def _key(contender: Contender, series: LabelledSeries, window_rows: int) -> str:
    content = series.ts_ms.tobytes() + series.value.tobytes() + _code(registered=contender.name in REGISTRY)
    return f"{blake2b(content, digest_size=8).hexdigest()}-{window_rows}"


@once
def _code(*, registered: bool) -> bytes:
    """What the scores follow from, besides the series: a detector that has changed is asked again."""
    of_series, of_windows = Path(series_detectors.__file__).parent, Path(detectors.__file__).parent
    folders = (of_windows,) if registered else (of_series, of_windows / "adapters")
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return b"".join(path.read_bytes() for path in (*paths, Path(banks.__file__), Path(contenders.__file__)))
