"""Labels into columns: numbers and booleans are a quantity, texts are counted, in JSON as in Arrow."""

import json
from typing import Any

import numpy as np
import pytest

from schemas.codecs import decode_labels, encode_arrow
from schemas.columns import Decoded, EventKey, Reason
from schemas.scopes import Family

NOW_MS = 1_767_225_600_000


def of_json(values: list[Any]) -> Decoded:
    events = [{"event_id": f"e{i}", "ts_ms": NOW_MS, "model": "cards", "label": v} for i, v in enumerate(values)]
    return decode_labels([json.dumps(event).encode() for event in events])


def of_arrow(values: list[Any]) -> Decoded:
    n = len(values)
    ids = [f"e{i}" for i in range(n)]
    return decode_labels(
        [encode_arrow({"event_id": ids, "ts_ms": [NOW_MS] * n, "model": ["cards"] * n, "label": values})]
    )


@pytest.mark.parametrize("decode", [of_json, of_arrow])
@pytest.mark.parametrize("values", [[True, False, True], [1, 0, 1], [1.0, 0.0, 1.0]])
def test_what_is_true_or_false_is_a_number(decode: Any, values: list[Any]) -> None:
    columns = decode(values).columns
    assert columns.family is Family.LABEL
    assert columns.keys == (EventKey("cards"),)
    np.testing.assert_array_equal(columns.numeric["label"], [1.0, 0.0, 1.0])
    assert columns.counted == {}
    assert list(columns.event_id) == ["e0", "e1", "e2"]


@pytest.mark.parametrize("decode", [of_json, of_arrow])
def test_classes_are_counted(decode: Any) -> None:
    columns = decode(["stolen", "mine", "stolen"]).columns
    label = columns.counted["label"]
    assert [label.values[code] for code in label.codes.tolist()] == ["stolen", "mine", "stolen"]
    assert columns.numeric == {}


def test_a_topic_may_mix_them() -> None:
    columns = of_json([0.5, "stolen", True]).columns
    np.testing.assert_array_equal(columns.numeric["label"], [0.5, np.nan, 1.0])
    assert (columns.counted["label"].rows.tolist(), columns.counted["label"].values) == ([1], ("stolen",))


@pytest.mark.parametrize("decode", [of_json, of_arrow])
def test_a_label_that_says_nothing_is_refused(decode: Any) -> None:
    decoded = decode([None, 1])
    assert [letter.reason for letter in decoded.dead] == [Reason.SCHEMA_MISMATCH]
    assert "label" in decoded.dead[0].message
    assert len(decoded.columns) == 1


def test_a_list_is_no_label() -> None:
    assert [letter.reason for letter in of_arrow([[1], [2]]).dead] == [Reason.SCHEMA_MISMATCH]
    assert [letter.reason for letter in of_json([[1]]).dead] == [Reason.SCHEMA_MISMATCH]
