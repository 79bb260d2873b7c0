"""River's anomaly detectors on one series, each as its documentation sets it up."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from detectors.protocol import Floats, Ints


class RiverAnomaly:
    """One of River's detectors, row by row: score, then learn.

    It is for comparison, not for a worker: its state cannot be saved. Detectors of features get the value as their only
    one, scaled online as each asks for; detectors of a target get it as the target.

    Parameters
    ----------
    name
        A key of :data:`DETECTORS`.
    seed
        Of detectors that draw random numbers.

    References
    ----------
    .. [1] J. Montiel et al., "River: machine learning for streaming data in Python", 2021.
    """

    def __init__(self, name: str, seed: int = 1) -> None:
        self._model = DETECTORS[name](seed)
        self._of_target = name in _OF_TARGET

    def step(self, ts_ms: Ints, value: Floats) -> Floats:  # noqa: ARG002 - as all of them
        """See :class:`~detectors.series.protocol.SeriesDetector`."""
        return np.array([self._row(number) for number in value.tolist()], np.float64)

    def _row(self, value: float) -> float:
        if not math.isfinite(value):
            return math.nan
        given: tuple[Any, ...] = ({"value": value},)
        if self._of_target:
            given = (None, value)
        score = float(self._model.score_one(*given))
        self._model.learn_one(*given)
        return score


def _half_space_trees(seed: int) -> Any:  # noqa: ANN401 - River's pipelines have no common public type
    from river import anomaly, preprocessing  # noqa: PLC0415 - seconds and 150 MB: only for who compares

    return preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=seed)


def _one_class_svm(seed: int) -> Any:  # noqa: ANN401, ARG001 - likewise; draws nothing
    from river import anomaly, preprocessing  # noqa: PLC0415 - likewise

    return preprocessing.StandardScaler() | anomaly.OneClassSVM()


def _gaussian(seed: int) -> Any:  # noqa: ANN401, ARG001 - likewise
    from river import anomaly  # noqa: PLC0415 - likewise

    return anomaly.GaussianScorer()  # type: ignore[no-untyped-call]


def _absolute_deviation(seed: int) -> Any:  # noqa: ANN401, ARG001 - likewise
    from river import anomaly  # noqa: PLC0415 - likewise

    return anomaly.StandardAbsoluteDeviation()


def _predictive(seed: int) -> Any:  # noqa: ANN401, ARG001 - likewise
    from river import anomaly, linear_model, optim, preprocessing, time_series  # noqa: PLC0415 - likewise

    regressor = preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.SGD(0.005))
    forecaster = time_series.SNARIMAX(p=12, d=1, q=12, regressor=regressor)
    return anomaly.PredictiveAnomalyDetection(forecaster, horizon=1, n_std=3.5, warmup_period=15)


def _loda(seed: int) -> Any:  # noqa: ANN401 - likewise
    from river import anomaly, preprocessing  # noqa: PLC0415 - likewise

    return preprocessing.StandardScaler() | anomaly.LODA(seed=seed)


def _local_outlier_factor(seed: int) -> Any:  # noqa: ANN401, ARG001 - likewise
    from river import anomaly  # noqa: PLC0415 - likewise

    return anomaly.LocalOutlierFactor(n_neighbors=20)


DETECTORS: Final[Mapping[str, Callable[[int], Any]]] = {
    "river_half_space_trees": _half_space_trees,
    "river_one_class_svm": _one_class_svm,
    "river_gaussian": _gaussian,
    "river_absolute_deviation": _absolute_deviation,
    "river_predictive": _predictive,
    "river_loda": _loda,
    "river_local_outlier_factor": _local_outlier_factor,
}
"""Name → its maker, from a seed."""
_OF_TARGET: Final = frozenset({"river_gaussian", "river_absolute_deviation", "river_predictive"})
