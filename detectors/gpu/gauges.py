"""The gauges of a window by name, and side by side for the GPUs that have them."""

import numpy as np

from detectors.protocol import Floats, Ints, NumericColumns


def places_of(numeric: NumericColumns, *names: str) -> Ints:
    """The places of all series with one of these names, int64[k], ascending."""
    return np.array([i for i, name in enumerate(numeric.name) if name in names], np.int64)


def beside(numeric: NumericColumns, places: Ints, name: str, values: Floats) -> Floats:
    """What another gauge of the same GPUs has.

    Parameters
    ----------
    places
        int64[k], at most one of each GPU.
    name
        The other gauge.
    values
        float64[N], a column of the window such as its means.

    Returns
    -------
    float64[k], NaN where the GPU does not have the gauge.
    """
    of_scope = {int(numeric.scope[i]): float(values[i]) for i in places_of(numeric, name).tolist()}
    return np.array([of_scope.get(scope, np.nan) for scope in numeric.scope[places].tolist()], np.float64)
