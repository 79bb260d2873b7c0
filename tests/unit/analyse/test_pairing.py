"""Reads beside predictions: two topics, two families, one partition of panes."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import msgspec
import numpy as np
import pytest

from detectors import moments
from detectors.protocol import NUMBER
from detectors.sensitivity import Sensitivities
from schemas.baselines import Baseline
from schemas.codecs import DECODERS, encode_arrow
from schemas.findings import Finding, Kind, Progress
from schemas.panes import CategoryPart, IdPart, NumericPart, Pane, PaneMessage, SamplePart, Watermark
from schemas.rows import RowBatch
from schemas.scopes import OTHER, Family, Scope
from streams.analyse.bench import DetectorBench, rules_of
from streams.analyse.pairing import Pairing
from streams.analyse.partition import AnalysePartition, AnalyseRules, Output
from streams.analyse.registry import Registry
from streams.analyse.window import PaneWindow
from streams.binnings import BinningIndex
from streams.cli.suite import settings
from streams.clock import ManualClock
from streams.ingest.partition import Commit, PartitionIngest, Source
from streams.ingest.scoping import PaneLimits
from streams.metrics import Metrics
from streams.rehearsal import Rehearsed, Step, record, rehearse
from streams.stage import Batch

START_MS = 1_780_272_000_000
STEP_MS, SPAN_MS = 10_000, 300_000
READS = Scope(Family.READ, "cards", "", "feature_set=card-24h")
OTHERS = Scope(Family.READ, "cards", "", "feature_set=card-live")
OLD, NEW = Scope(Family.PREDICTION, "cards", "1"), Scope(Family.PREDICTION, "cards", "2")
SEGMENT = Scope(Family.PREDICTION, "cards", "1", "country=DE")


def pane(scope: Scope, rows: int, values: Mapping[str, Sequence[float]], **texts: Mapping[str, int]) -> Pane:
    """A pane without cells, of one quantity for each of ``values`` and ``texts``."""
    stats = np.array([moments.of(np.array(column, np.float64)) for column in values.values()]).reshape(-1, 5)
    none = bytes(len(values))
    numeric = NumericPart(tuple(values), stats.astype("<f8").tobytes(), 4 * none, b"", b"", none)
    told = tuple(CategoryPart(f"features.{name}", tuple(of), tuple(of.values())) for name, of in texts.items())
    return Pane(scope, 0, STEP_MS, "t", 0, "", rows, 0, numeric, told, (), SamplePart(), IdPart())


def window(registry: Registry, family: Family, *panes: Pane, start_ms: int = 0) -> PaneWindow:
    made = PaneWindow(family, start_ms, SPAN_MS, 100)
    for each in panes:
        made.add(each, registry)
    return made


def test_versions_and_sets_are_added_up_and_what_is_on_one_side_is_left_out() -> None:
    registry, pairing = Registry(10), Pairing()
    reads = window(
        registry,
        Family.FEATURE,
        pane(READS, 4, {"features.amount": [1, 2, 3], "features.unused": [1], "freshness_ms": [9]}, kind={"a": 3}),
        pane(OTHERS, 2, {"features.amount": [6, 8]}),
        pane(Scope(Family.FEATURE, "card-24h"), 9, {"features.amount": [50] * 9}),
        pane(Scope(Family.READ, OTHER, "", "feature_set=card-24h"), 9, {"features.amount": [50] * 9}),
    )
    asked = window(
        registry,
        Family.PREDICTION,
        pane(OLD, 3, {"features.amount": [10, 20], "features.local": [1], "score": [1]}, kind={"a": 1, "b": 1}),
        pane(NEW, 2, {"features.amount": [30], "features.kind": [7]}),
        pane(SEGMENT, 3, {"features.amount": [999]}),
        pane(Scope(Family.PREDICTION, "another", "1"), 3, {"features.amount": [999]}),
    )
    assert pairing.take(asked, Registry(10)) is None  # no read names a model
    assert pairing.take(asked, registry) is None
    batch = pairing.take(reads, registry)
    assert batch is not None
    assert list(batch.scopes.key) == [READS, OTHERS]
    np.testing.assert_array_equal(batch.scopes.rows, [4, 2])
    told = batch.reads
    assert (list(told.name), list(told.sets)) == (
        ["features.amount", "features.kind"],
        [("card-24h", "card-live"), ("card-24h",)],
    )
    assert told.series.tolist() == [registry.id(registry.scope(READS), name) for name in told.name]
    # Rows are those of whoever has the feature at all: nulls are what is missing among them.
    np.testing.assert_allclose(told.served[0], [6, 5, 4, 34, 1, 8])
    np.testing.assert_allclose(told.given[0], [5, 3, 20, 200, 10, 30])
    assert told.values[1] == (NUMBER, "a", "b")
    np.testing.assert_array_equal(told.served_counts, [[5, 0, 0], [0, 3, 0]])
    np.testing.assert_array_equal(told.given_counts, [[3, 0, 0], [1, 1, 1]])


def test_either_side_waits_for_the_other_through_a_restart_and_not_for_ever() -> None:
    registry = Registry(10)

    def sides(number: int) -> tuple[PaneWindow, PaneWindow]:
        start = number * SPAN_MS
        return (
            window(registry, Family.FEATURE, pane(READS, 1, {"features.amount": [number]}), start_ms=start),
            window(registry, Family.PREDICTION, pane(OLD, 1, {"features.amount": [number]}), start_ms=start),
        )

    pairing = Pairing()
    assert [pairing.take(sides(number)[0], registry) for number in range(5)] == [None] * 5
    restored = Pairing()
    restored.load_parts(msgspec.msgpack.decode(msgspec.msgpack.encode(pairing.to_parts()), strict=False))
    assert restored.to_parts() == pairing.to_parts()
    found = [restored.take(sides(number)[1], registry) for number in range(5)]
    assert [batch.start_ms // SPAN_MS for batch in found if batch] == [2, 3, 4]
    assert [float(batch.reads.served[0, 2]) for batch in found if batch] == [2, 3, 4]
    older = Pairing()
    older.load_parts({})
    assert older.to_parts() == Pairing().to_parts()


# -- from messages to alerts -------------------------------------------------------------------------------------------


def messages(minutes: int, skewed: int, *, named: bool = True) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Two requests a second that read before they are answered; amounts are in cents from minute ``skewed`` on."""
    rng = np.random.default_rng(3)
    for number in range(minutes * 6):
        ts_ms = START_MS + number * STEP_MS + np.arange(20) * 500
        amount, kind = rng.lognormal(3, 1.5, 20), np.where(rng.random(20) < 0.7, "card", "sepa").tolist()
        given = amount * 100 if number >= skewed * 6 else amount
        asked = {"ts_ms": ts_ms, "model": ["cards"] * 20, "model_version": ["1", "2"] * 10}
        read = {"ts_ms": ts_ms, "feature_set": ["card-24h"] * 20, "values": {"amount": amount, "kind": kind}}
        yield (
            START_MS + (number + 1) * STEP_MS,
            {
                "features": encode_arrow(read | ({"model": ["cards"] * 20} if named else {})),
                "predictions": encode_arrow(asked | {"features": {"amount": given, "kind": kind}}),
            },
        )


def lived(minutes: int, skewed: int, *, named: bool = True, partitions: int = 1) -> Rehearsed:
    steps = [
        Step(at_ms, [Batch(topic, 0, [record(topic, 0, n, at_ms, value)], n + 1) for topic, value in told.items()])
        for n, (at_ms, told) in enumerate(messages(minutes, skewed, named=named))
    ]
    of = settings()
    topics = of.topics.model_copy(update={"partitions": partitions})
    return rehearse(of.model_copy(update={"topics": topics}), steps)


def test_a_model_that_is_given_cents_is_told_of_wherever_its_panes_go() -> None:
    heard = lived(32, 20, partitions=3)
    assert not heard.dead
    found = [one for one in heard.findings if isinstance(one, Finding) and one.kind is Kind.SKEW]
    assert {(one.scope, one.quantity) for one in found} == {(READS, "features.amount")}
    assert found[0].since_ms == START_MS + 20 * 60_000
    assert found[0].window_start_ms == START_MS + 25 * 60_000
    assert "feature set card-24h serves" in found[0].summary
    (alert, *_) = [one for one in heard.alerts if one.labels["alertname"] == "HalcyonFeatureSkew"]
    assert alert.labels == {"alertname": "HalcyonFeatureSkew", "model": "cards", "severity": "warning"}
    assert alert.annotations["summary"].startswith(
        "cards is given other values than it is served in feature_set=card-24h: features.a"
    )
    # Nothing else looks at the reads of a model: what it says of the set, it says of the whole.
    assert {one.kind for one in heard.findings if isinstance(one, Finding) and one.scope.family is Family.READ} == {
        Kind.SKEW
    }


@pytest.mark.parametrize(("skewed", "named"), [(100, True), (5, False)])
def test_the_same_values_say_nothing_nor_do_reads_of_nobody(skewed: int, named: bool) -> None:
    heard = lived(22, skewed, named=named)
    assert not [one for one in heard.findings if isinstance(one, Finding) and one.scope.family is Family.READ]
    families = {one.family for one in heard.findings if isinstance(one, Progress)}
    assert families == {"prediction", "feature"} | ({"read"} if named else set())


# -- restarts ----------------------------------------------------------------------------------------------------------

PANE_MS = 60_000


@cache
def log() -> tuple[PaneMessage, ...]:
    """A partition of panes: what ingest makes of both topics, predictions a minute behind the reads."""
    ingest = {
        topic: PartitionIngest(Source(family, topic, 0, PANE_MS, 5_000), Commit(), PaneLimits(), BinningIndex())
        for topic, family in (("features", Family.FEATURE), ("predictions", Family.PREDICTION))
    }
    told, written = [told for _, told in messages(38, 20)], list[PaneMessage]()
    for number in range(len(told)):
        for topic, behind in (("features", 0), ("predictions", 6)):
            if number < behind:
                continue
            own = ingest[topic]
            decoded = DECODERS[own.source.family]([told[number - behind][topic]])
            own.add(decoded, np.array([number - behind]), np.zeros(1, np.int64))
            written += own.closed()
            written.append(Watermark(own.source.family, topic, 0, 1, own.watermark_ms, False, own.max_ts_ms))
    return tuple(written)


def partition() -> AnalysePartition:
    bench = DetectorBench({}, rules_of(3, 5), 0.01, (), Sensitivities(), Metrics(), ManualClock())
    return AnalysePartition(0, AnalyseRules(PANE_MS), bench)


def said(own: AnalysePartition, first: int, last: int) -> list[Output]:
    return [output for offset in range(first, last) for output in own.take(log()[offset], offset)]


@pytest.mark.parametrize("minute", [13, 25])
def test_a_restart_in_the_middle_changes_nothing(minute: int) -> None:
    # At minute 25 the reads of five minutes wait for the predictions of the same.
    cut = 1 + next(
        offset
        for offset, message in enumerate(log())
        if isinstance(message, Watermark) and message.watermark_ms >= START_MS + minute * 60_000
    )
    through, after = partition(), partition()
    before = said(through, 0, cut)
    known = {one.id: one for one in before if isinstance(one, Baseline)}
    first = through.committable()
    assert after.restore(through.snapshot(), known) == []
    assert said(after, first, cut) == []
    rest, again = said(through, cut, len(log())), said(after, cut, len(log()))
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(rest)
    assert any(isinstance(one, Finding) and one.kind is Kind.SKEW for one in rest)


def test_reads_make_rows_and_no_baseline() -> None:
    outputs = said(partition(), 0, len(log()))
    tables: dict[str, set[str]] = {}
    for one in outputs:
        if isinstance(one, RowBatch):
            tables.setdefault(one.table, set()).update(one.columns[0])
    assert all("read" in tables[name] for name in ("volumes", "numerics", "categories", "scores"))
    learned = {one.scope for one in outputs if isinstance(one, Baseline)}
    assert learned == {OLD, Scope(Family.FEATURE, "card-24h")} | ({NEW} & learned)
