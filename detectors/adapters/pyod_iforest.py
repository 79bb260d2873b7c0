"""PyOD's isolation forest over a reference sample, rebuilt from its rows and a seed."""

from typing import Final, Self

import numpy as np

from detectors.protocol import Floats

TREES: Final = 50
SUBSAMPLE: Final = 256
_HOLD_OUT: Final = 3
"""Every third row calibrates: a forest scores the rows it was grown from too low."""


class OutlierModel:
    """What is an outlier to a reference: rows that isolate sooner than all but a share of rows held out.

    Of PyOD's cheap models ECOD and COPOD score a row by its rank among the rows that come with it, so that a burst
    hides itself; HBOS compiles for seconds. An isolation forest judges each row alone, needs no scaling, adds up
    values that are unusual together, and takes about 10 µs a row; growing it takes a tenth of a second, once per
    baseline. A correlation that breaks while every value stays usual it hardly sees: it cuts along one value at a time.

    Parameters
    ----------
    reference
        float64[r, k], NaN for null, r ≥ 6: two thirds grow the forest, a third calibrates.
    outlier_ratio
        Share of the held-out rows that are outliers by definition, 0…1, exclusive.
    seed
        Of the forest.

    Attributes
    ----------
    calibrated
        Rows held out.
    """

    def __init__(self, reference: Floats, outlier_ratio: float, seed: int) -> None:
        # Brings scikit-learn and numba, 150 MB: only for who watches rows.
        from pyod.models.iforest import IForest  # noqa: PLC0415

        self._fill = _medians(reference)
        rows = self._filled(reference)
        held = np.arange(len(rows)) % _HOLD_OUT == 0
        self._forest = IForest(n_estimators=TREES, max_samples=min(SUBSAMPLE, int((~held).sum())), random_state=seed)
        self._forest.fit(rows[~held])
        self.calibrated = int(held.sum())
        self._limit = float(
            np.quantile(self._forest.decision_function(rows[held]), 1 - outlier_ratio, method="inverted_cdf")
        )

    @classmethod
    def of(cls, reference: Floats, outlier_ratio: float, seed: int) -> Self | None:
        """The model, or None where no column of ``reference`` varies."""
        spread = np.ptp(np.where(np.isnan(reference), _medians(reference), reference), axis=0)
        return cls(reference, outlier_ratio, seed) if (spread > 0).any() else None

    def outlying(self, rows: Floats) -> Floats:
        """How far float64[n, k] rows are beyond the limit: float64[n], > 0 for outliers."""
        scored = self._forest.decision_function(self._filled(rows))
        return np.asarray(scored - self._limit, np.float64)

    def _filled(self, rows: Floats) -> Floats:
        # A null is the null detector's business: here it stands in the middle.
        return np.where(np.isnan(rows), self._fill, rows)


def _medians(reference: Floats) -> Floats:
    known = ~np.isnan(reference)
    ordered = np.sort(np.where(known, reference, np.inf), axis=0)
    middle = np.maximum(known.sum(axis=0) - 1, 0) // 2
    found = ordered[middle, np.arange(reference.shape[1])]
    return np.where(np.isfinite(found), found, 0.0)
