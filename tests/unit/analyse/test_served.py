"""Labels beside the predictions of their model: two topics, two families, one partition of panes."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from detectors.protocol import WindowBatch
from schemas.codecs import encode_arrow
from schemas.findings import Finding, Kind, Progress
from schemas.scopes import Family, Scope
from streams.analyse.ages import Ages, idle_ms
from streams.analyse.registry import Registry
from streams.analyse.served import Served
from streams.cli.suite import settings
from streams.rehearsal import Rehearsed, Step, record, rehearse
from streams.stage import Batch
from tests.laws.world import Seen, World

START_MS = 1_780_272_000_000
STEP_MS = 10_000
OLD, NEW = Scope(Family.PREDICTION, "cards", "1"), Scope(Family.PREDICTION, "cards", "2")
SEGMENT = Scope(Family.PREDICTION, "cards", "1", "country=DE")
LABELS = Scope(Family.LABEL, "cards")


def minute(**scores: float) -> WindowBatch:
    """A window of 100 predictions of each version, all of one score; the baselines' is known as NaN."""
    seen = {
        {"old": OLD, "new": NEW, "segment": SEGMENT}[who]: Seen(100, {"score": np.full(100, score)})
        for who, score in scores.items()
    }
    batch = World(dict.fromkeys(seen)).window(seen)
    return replace(batch, numeric=replace(batch.numeric, ref_mean=np.full(len(batch.numeric.name), 0.25)))


def test_versions_are_added_up_and_segments_left_out() -> None:
    served = Served()
    served.see(minute(old=0.2, new=0.4, segment=0.9))
    beside = served.beside([LABELS, Scope(Family.LABEL, "unknown")])
    np.testing.assert_array_equal(beside.rows, [200, np.nan])
    np.testing.assert_allclose(beside.score, [0.3, np.nan])
    np.testing.assert_allclose(beside.ref_score, [0.25, np.nan])


def test_scores_of_long_ago_fade_and_other_windows_say_nothing() -> None:
    served = Served()
    served.see(minute(old=0.2))
    for _ in range(100):
        served.see(minute(old=0.6))
    served.see(replace(minute(old=9.0), size_ms=10_000))
    assert served.beside([LABELS]).score[0] == pytest.approx(0.6, abs=0.01)
    restored = Served()
    restored.load_parts(served.to_parts())
    assert restored.to_parts() == served.to_parts()


def test_labels_are_remembered_for_longer_than_traffic() -> None:
    day = 24 * 3_600_000
    assert idle_ms(Family.PREDICTION) == day
    assert idle_ms(Family.LABEL) == 8 * day
    ages, registry = Ages(), Registry(10)
    asked, told = registry.scope(OLD), registry.scope(LABELS)
    ages.load_parts({"first": {asked: 0, told: 0}, "last": {asked: 0, told: 0}})
    assert ages.take_silent(2 * day, Family.LABEL, registry) == []
    assert ages.take_silent(2 * day, Family.PREDICTION, registry) == [asked]
    assert (ages.knows(asked), ages.knows(told)) == (False, True)


def steps(minutes: int, *, labelled: int) -> Iterator[Step]:
    """Two predictions a second, and their labels a minute later; none from minute ``labelled`` on."""
    for number in range(minutes * 6):
        ts_ms = START_MS + number * STEP_MS + np.arange(20) * 500
        ids = [f"e{number}-{i}" for i in range(20)]
        asked = {"event_id": ids, "ts_ms": ts_ms, "model": ["cards"] * 20, "score": np.linspace(0, 1, 20)}
        batches = [batch("predictions", number, encode_arrow(asked))]
        if 6 <= number < labelled * 6:
            told = [f"e{number - 6}-{i}" for i in range(20)]
            label = {"event_id": told, "ts_ms": ts_ms, "model": ["cards"] * 20, "label": np.arange(20) < 4}
            batches.append(batch("labels", number - 6, encode_arrow(label)))
        yield Step(START_MS + (number + 1) * STEP_MS, batches)


def batch(topic: str, offset: int, value: bytes) -> Batch:
    stamp_ms = START_MS + offset * STEP_MS + STEP_MS
    return Batch(topic, 0, [record(topic, 0, offset, stamp_ms, value)], offset + 1)


def lived(minutes: int, labelled: int) -> Rehearsed:
    return rehearse(settings(), steps(minutes, labelled=labelled))


def test_labels_that_stay_away_are_told_of_and_hold_nothing_up() -> None:
    heard = lived(100, 75)
    assert not heard.dead
    found = [one for one in heard.findings if isinstance(one, Finding)]
    assert {(one.scope, one.kind) for one in found} == {(LABELS, Kind.LABEL_DELAY)}
    assert START_MS + 75 * 60_000 <= found[0].since_ms <= START_MS + 76 * 60_000
    assert found[0].window_start_ms <= START_MS + 90 * 60_000
    (alert, *_) = heard.alerts
    assert alert.labels == {"alertname": "HalcyonLabels", "model": "cards", "severity": "warning"}


def test_a_topic_of_labels_without_any_holds_nothing_up_and_says_nothing() -> None:
    heard = lived(30, 0)
    assert {one.family for one in heard.findings if isinstance(one, Progress)} == {"prediction"}
    last = max(one.through_ms for one in heard.findings if isinstance(one, Progress))
    assert last >= START_MS + 29 * 60_000
    assert not heard.alerts
