"""What is adapted is what its library gives, and brings no more of it than needed."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from detectors.adapters.pyod_iforest import OutlierModel
from detectors.adapters.river_adwin import MAX_HISTORY, RiverAdwin


@pytest.mark.parametrize("seed", range(5))
def test_adwin_says_what_rivers_own_detector_says(seed: int) -> None:
    from river import drift

    adwin: Any = drift.ADWIN  # typed in part only
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(level, 1, 100) for level in (0, 3, 3, -2)])
    ours, theirs = RiverAdwin(0.002), adwin(delta=0.002, clock=1)
    said = []
    for value in x.tolist():
        theirs.update(value)
        said.append(theirs.drift_detected)
        assert ours.update(value) == said[-1]
    assert 2 <= sum(said) <= 4


def test_adwin_continues_from_its_history_and_keeps_no_more_than_its_bound() -> None:
    rng = np.random.default_rng(1)
    adwin = RiverAdwin(0.002)
    for value in rng.normal(size=2 * MAX_HISTORY + 7).tolist():
        adwin.update(value)
    assert len(adwin.history) <= MAX_HISTORY
    twin = RiverAdwin(0.002, adwin.history)
    for value in rng.normal(1, 1, 100).tolist():
        assert adwin.update(value) == twin.update(value)


def test_a_change_is_split_where_it_happened() -> None:
    adwin = RiverAdwin(0.002)
    assert all(np.isnan(adwin.split()))
    for value in [0.0, 0.1, -0.1, 0.0, 5.0, 5.1, 4.9]:
        adwin.update(value)
    assert adwin.split() == pytest.approx((0.0, 5.0))


def test_a_forest_adds_unusual_values_up_judges_rows_alone_and_repeats_itself() -> None:
    reference = np.random.default_rng(2).normal(size=(1_500, 5))
    model, twin = (OutlierModel(reference, 0.02, 7) for _ in range(2))
    # Two standard deviations in one value is nothing; in each of five it is a row that nobody has seen.
    alone, together = np.diag(np.full(5, 2.0)), np.sign(reference[:200]) * 2.0
    assert (model.outlying(reference[::3]) > 0).mean() <= 0.02
    assert not (model.outlying(alone) > 0).any()
    assert (model.outlying(together) > 0).mean() > 0.9
    assert np.array_equal(model.outlying(together), twin.outlying(together))
    assert model.outlying(together[:1])[0] == model.outlying(together)[0]
    assert model.calibrated == 500


def test_nulls_stand_at_the_median_and_a_constant_reference_has_no_forest() -> None:
    reference = np.random.default_rng(3).normal(size=(900, 2))
    reference[::10, 0] = np.nan
    model = OutlierModel.of(reference, 0.02, 7)
    assert model is not None
    assert model.outlying(np.array([[np.nan, 0.0]]))[0] < 0
    assert OutlierModel.of(np.ones((900, 2)), 0.02, 7) is None


def test_the_registry_does_not_load_what_only_forests_need() -> None:
    heavy = ("pyod", "sklearn", "pandas", "numba")
    code = f"import sys, detectors.registry; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
