"""Whether one standing is worse than another is itself tested: a baseline that lets everything pass is none."""

from pathlib import Path

import msgspec
import pytest

from loadgen.score.run import Run, Watched, judge
from loadgen.score.totals import ALL
from loadgen.truth import Truth
from schemas.findings import Kind
from tests.quality.standing import Baseline, Row, Standing, better, missed, read, standing, worse, write
from tests.unit.loadgen.test_score_card import START_MS, alert

ROW = Row(
    injected=25, found=20, must=5, recall=0.8, quiet=0, delay_p50_s=120.0, near_misses=0, near_misses_alerted=0,
    model_days=1.0, false_per_model_day=1.0,
)  # fmt: skip


def one(**changes: float | None) -> Standing:
    return Standing(("s",), (1,), {"drift": msgspec.structs.replace(ROW, **changes)})


@pytest.mark.parametrize(
    ("now", "word"),
    [
        ({"recall": 0.6}, "recall is 0.60, against 0.80"),
        ({"recall": None}, "recall is unknown"),
        ({"delay_p50_s": 220.0}, "median delay is 220 s, against 120 s"),
        ({"quiet": 1}, "found too quietly is 1, against 0"),
        ({"false_per_model_day": 2.0}, "false alerts per model-day is 2.0, against 1.0"),
    ],
)
def test_worse_is_told_and_the_other_way_round_it_is_better(now: dict[str, float | None], word: str) -> None:
    (line,) = worse(one(**now), one())
    assert line.startswith("drift: ")
    assert word in line
    assert better(one(**now), one()) == []
    assert worse(one(), one(**now)) == []
    if now.get("recall", 0) is not None:
        assert len(better(one(), one(**now))) == 1


@pytest.mark.parametrize("now", [{}, {"recall": 0.76}, {"delay_p50_s": 205.0}, {"false_per_model_day": 1.5}])
def test_within_the_tolerance_is_neither(now: dict[str, float | None]) -> None:
    assert worse(one(**now), one()) == better(one(**now), one()) == []


def test_a_kind_that_is_gone_is_worse_and_a_new_one_asks_for_a_baseline() -> None:
    none = Standing(("s",), (1,), {})
    assert worse(none, one()) == ["drift is no longer injected"]
    assert better(one(), none) == ["drift is new"]


def run(seed: int, delay_s: int | None) -> Run:
    truth = Truth(name="d", entity="fraud", onset_ms=START_MS + 600_000, end_ms=START_MS + 900_000,
                  kinds=(Kind.DRIFT,), injection="drift")  # fmt: skip
    said = [] if delay_s is None else [alert(600 + delay_s)]
    return judge((truth,), said, 300_000, Watched(("fraud",), START_MS, START_MS + 3_600_000), "s", seed)


def test_a_standing_is_the_median_over_seeds() -> None:
    found = standing([run(1, 60), run(2, 100), run(3, None)])
    assert (found.seeds, found.scenarios) == ((1, 2, 3), ("s",))
    row = found.kinds["drift"]
    assert (row.must, row.recall, row.delay_p50_s) == (1, 1.0, 80.0)
    assert (row.injected, row.found) == (3, 2)
    assert ALL in found.kinds


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    baseline = Baseline(one(), one(recall=None))
    write(baseline, tmp_path / "b.json")
    assert read(tmp_path / "b.json") == baseline


def test_what_is_missed_is_listed_worst_first_and_what_is_well_is_not() -> None:
    well = msgspec.structs.replace(ROW, found=25, recall=1.0, false_per_model_day=0.0)
    blind = msgspec.structs.replace(ROW, found=0, recall=0.0, delay_p50_s=None)
    near = msgspec.structs.replace(well, injected=0, found=0, must=0, recall=None, near_misses=2, near_misses_alerted=1)
    shown = missed({"well": well, "drift": ROW, "blind": blind, "promotion": near, ALL: ROW})
    rows = shown.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| blind", "| drift", "| promotion", f"| {ALL}"]
    assert "0 of 25 | –" in rows[0]
    assert "20 of 25 | 120 s" in rows[1]
    assert "1 of 2" in rows[2]
