"""What a feature set is read for: events that name a model count once more, for that model, under caps."""

import numpy as np
import pytest

from schemas.codecs import decode_features, encode_arrow, encode_json
from schemas.columns import EventColumns
from schemas.common import Value
from schemas.features import FeatureRead
from schemas.panes import Pane, column
from schemas.scopes import INVALID, Family, Scope
from streams.binnings import BinningIndex
from streams.ingest.pane import OpenPane, PaneKey
from streams.ingest.scoping import PaneLimits
from streams.windows.samples import row_hash

NOW_MS = 1_767_225_600_000
SET = Scope(Family.FEATURE, "card-24h")


def read_by(model: str) -> Scope:
    return Scope(Family.READ, model, "", "feature_set=card-24h")


def read(number: int, model: str | None) -> FeatureRead:
    values: dict[str, Value] = {"amount": float(number), "kind": "ab"[number % 2]}
    return FeatureRead(ts_ms=NOW_MS + number, feature_set="card-24h", model=model, values=values)


def panes(columns: EventColumns, limits: PaneLimits | None = None) -> tuple[dict[Scope, Pane], OpenPane]:
    n = len(columns)
    pane = OpenPane(
        PaneKey(Family.FEATURE, "features", 0, NOW_MS, 10_000), 0, 0, limits or PaneLimits(), BinningIndex()
    )
    pane.add(columns, np.ones(n, np.bool_), row_hash(0, np.arange(n), np.zeros(n, np.int64)))
    return {each.scope: each for each in pane.panes() if each.scope.model != INVALID}, pane


@pytest.mark.parametrize("arrow", [False, True])
def test_reads_count_in_the_set_and_for_the_model_that_asked(arrow: bool) -> None:
    events = [read(number, ("cards", "cards", "limits", None)[number % 4]) for number in range(40)]
    raw = [encode_arrow(events)] if arrow else [encode_json(event) for event in events]
    found, _ = panes(decode_features(raw).columns)
    assert {scope: each.rows for scope, each in found.items()} == {
        SET: 40, read_by("cards"): 20, read_by("limits"): 10,
    }  # fmt: skip
    of = found[read_by("limits")]
    amounts = np.arange(2, 40, 4)
    stats = dict(zip(of.numeric.names, column(of.numeric.stats, np.float64).reshape(-1, 5), strict=True))
    np.testing.assert_allclose(stats["features.amount"], [10, amounts.mean(), 10 * amounts.var(), 2, 38])
    assert [(part.name, dict(zip(part.values, part.counts, strict=True))) for part in of.categories] == [
        ("features.kind", {"a": 10})
    ]
    # Moments are all that is asked of them.
    assert (of.numeric.bins, of.numeric.counts, set(of.numeric.cells)) == (b"", b"", {0})
    assert of.sample.names == ()
    assert found[SET].numeric.bins


def test_the_reads_of_a_model_go_where_its_predictions_go() -> None:
    for number in range(50):
        model = f"model-{number}"
        reads = read_by(model).pane_partition(12)
        assert reads == Scope(Family.PREDICTION, model, "7").pane_partition(12)


def test_models_over_the_cap_are_counted_in_the_set_alone() -> None:
    columns = decode_features([encode_json(read(number, f"made-up-{number}")) for number in range(50)]).columns
    found, pane = panes(columns, PaneLimits(segments=6))
    assert len(found) == 7
    assert found[SET].rows == 50
    assert pane.capped()["segment"] == 44
    assert panes(columns, PaneLimits(segments=0))[0].keys() == {SET}
