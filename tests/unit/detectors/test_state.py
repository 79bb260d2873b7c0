"""State in columns: grows with the ids, forgets, and saves only what is not blank."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.state import Columns, StateError, pack, unpack

BLANK: dict[str, NDArray[Any]] = {"n": np.zeros((), np.int64), "last": np.full(3, np.nan)}


def filled() -> Columns:
    columns = Columns(BLANK)
    columns.reserve(np.array([2, 90_000]))
    columns["n"][[2, 90_000]] = [7, 8]
    columns["last"][2] = [1.0, np.nan, 3.0]
    return columns


def test_new_rows_are_blank_and_old_ones_stay() -> None:
    columns = filled()
    columns.reserve(np.array([200_000]))
    assert columns["n"][[0, 2, 90_000, 200_000]].tolist() == [0, 7, 8, 0]
    assert np.isnan(columns["last"][200_000]).all()


def test_saving_takes_room_for_what_is_not_blank_alone() -> None:
    raw = filled().to_bytes("k", 1)
    assert len(raw) < 300
    again = Columns.from_bytes(raw, "k", 1, BLANK)
    assert again["n"][[2, 90_000]].tolist() == [7, 8]
    assert np.array_equal(again["last"][2], [1.0, np.nan, 3.0], equal_nan=True)
    assert again.to_bytes("k", 1) == raw
    assert Columns.from_bytes(Columns(BLANK).to_bytes("k", 1), "k", 1, BLANK).to_bytes("k", 1)


def test_forgetting_blanks_the_row_and_ignores_who_is_unknown() -> None:
    columns = filled()
    columns.forget(np.array([2, 10**9]))
    assert columns["n"][2] == 0
    assert np.isnan(columns["last"][2]).all()


def test_other_kinds_versions_widths_and_dtypes_are_refused() -> None:
    raw = filled().to_bytes("k", 1)
    for kind, version, blank in (("other", 1, BLANK), ("k", 2, BLANK), ("k", 1, {**BLANK, "last": np.full(4, np.nan)})):
        with pytest.raises(StateError, match="start without it"):
            Columns.from_bytes(raw, kind, version, blank)
    with pytest.raises(StateError, match="no state"):
        unpack(pack("k", 1, {"x": np.array(["text"])}), "k", 1)
