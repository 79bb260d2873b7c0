from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from loadgen.randomness import key_of
from loadgen.traffic import Arrivals, Clock, Traffic

HOUR_S = 3600
DAY = np.arange(0, 24 * HOUR_S, 60)
KEY = key_of("traffic")


def traffic(**given: Any) -> Traffic:
    return msgspec.convert({"rate_per_s": 100, **given}, Traffic)


def rate(second: int, clock: Clock | None = None, **given: Any) -> float:
    return float(traffic(**given).rate(np.array([second]), clock or Clock())[0])


def test_a_day_rises_to_its_peak_and_keeps_its_mean() -> None:
    rates = traffic(daily_ratio=0.3, daily_peak_hour=15).rate(DAY, Clock(hour=9))
    assert (9 + DAY[rates.argmax()] / HOUR_S) % 24 == 15
    assert rates.max() == pytest.approx(130)
    assert rates.mean() == pytest.approx(100)


@pytest.mark.parametrize(
    ("weekday", "hour", "second", "expected"),
    [
        ("friday", 23, 0, 100), ("friday", 23, HOUR_S, 40), ("sunday", 23, 0, 40), ("sunday", 23, HOUR_S, 100),
        ("tuesday", 0, 0, 100),
    ],
)  # fmt: skip
def test_weekends_are_quiet(weekday: str, hour: float, second: int, expected: float) -> None:
    clock = msgspec.convert({"weekday": weekday, "hour": hour}, Clock)
    assert rate(second, clock, weekend_ratio=0.4) == expected


@pytest.mark.parametrize(
    ("shape", "second", "expected"),
    [
        ({"shape": "ramp", "from_s": 100, "to_s": 200, "to_ratio": 3}, 50, 100),
        ({"shape": "ramp", "from_s": 100, "to_s": 200, "to_ratio": 3}, 150, 200),
        ({"shape": "ramp", "from_s": 100, "to_s": 200, "to_ratio": 3}, 900, 300),
        ({"shape": "step", "at_s": 100, "ratio": 0.5}, 99, 100),
        ({"shape": "step", "at_s": 100, "ratio": 0.5}, 100, 50),
        ({"shape": "burst", "first_s": 100, "every_s": 60, "length_s": 10, "ratio": 4}, 99, 100),
        ({"shape": "burst", "first_s": 100, "every_s": 60, "length_s": 10, "ratio": 4}, 165, 400),
        ({"shape": "burst", "first_s": 100, "every_s": 60, "length_s": 10, "ratio": 4}, 170, 100),
    ],
)
def test_shapes_multiply_the_rate(shape: dict[str, Any], second: int, expected: float) -> None:
    assert rate(second, shapes=[shape]) == expected
    assert rate(second, shapes=[shape, {"shape": "step", "at_s": 0, "ratio": 2}]) == 2 * expected


def test_arrivals_come_at_their_rate_in_order() -> None:
    seconds = np.arange(600)
    arrived = Arrivals(traffic(rate_per_s=40), Clock(), KEY).at(seconds, np.ones(600))
    assert abs(len(arrived.ts_ms) - 24_000) < 5 * np.sqrt(24_000)
    assert (np.diff(arrived.ts_ms) >= 0).all()
    np.testing.assert_array_equal(arrived.ts_ms // 1000, arrived.second)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    (tmp_path / "trace.csv").write_text("at,tokens\n" + "".join(f"{at},1\n" for at in (5.0, 5.25, 7.5, 9.0)))
    return tmp_path


def traced(folder: Path, first: int, last: int, factor: float = 1.0, **given: Any) -> Any:
    spec = traffic(trace={"file": "trace.csv", "column": "at", **given})
    seconds = np.arange(first, last)
    return Arrivals(spec, Clock(), KEY, folder).at(seconds, np.full(len(seconds), factor)).ts_ms.tolist()


def test_a_trace_is_replayed_from_its_first_arrival(trace: Path) -> None:
    assert traced(trace, 0, 5, loops=False) == [0, 250, 2500, 4000]
    assert traced(trace, 0, 60, loops=False) == [0, 250, 2500, 4000]
    assert traced(trace, 0, 3, speed=2, loops=False) == [0, 125, 1250, 2000]


def test_a_trace_begins_again_after_its_mean_gap(trace: Path) -> None:
    # Four arrivals over 4 s: it lasts 4 s and a third of that.
    again = traced(trace, 0, 12)
    assert again[4:8] == [5333, 5583, 7833, 9333]
    assert [ts for second in range(12) for ts in traced(trace, second, second + 1)] == again


def test_a_trace_is_thinned_and_repeated(trace: Path) -> None:
    assert traced(trace, 0, 5, 3.0, loops=False) == [0] * 3 + [250] * 3 + [2500] * 3 + [4000] * 3
    assert traced(trace, 0, 5, 0.0) == []
    assert 0 < len(traced(trace, 0, 3000, 0.5)) / len(traced(trace, 0, 3000)) < 0.6


def test_times_of_a_trace_may_be_written_out(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("at\n2024-05-01 10:00:00.000\n2024-05-01 10:00:01.500\n")
    assert traced(tmp_path, 0, 3, loops=False) == [0, 1500]


@pytest.mark.parametrize(
    ("given", "words"),
    [({"file": "none.csv"}, "none.csv is missing"), ({"column": "when"}, "no column 'when'; it has at, tokens")],
)
def test_a_trace_that_is_not_there_is_told(trace: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        traced(trace, 0, 1, **given)
