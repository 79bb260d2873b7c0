"""The capital of bets that are opened anew with every window: what test martingales have in common."""

import numpy as np

from detectors.protocol import Floats

NOTHING = -300.0
"""The logarithm of a capital that is lost."""
STARTED = 1.0
"""The logarithm of the capital above which a run of luck counts as one: less comes and goes by itself."""
QUIET = 20.0
"""A score whose capital is next to nothing is said to need this many times its size."""


def carried(capital: Floats, paid: Floats, most: float) -> tuple[Floats, Floats]:
    r"""Shiryaev and Roberts' $R \leftarrow (R + 1)\,e^g$, for b bets on each of n series.

    Parameters
    ----------
    capital, paid
        float64[n, b], as logarithms: what is held, and what a window pays.
    most
        What is held is cut here, so that what was won in a long fault is lost again soon.

    Returns
    -------
    float64[n, b]: what is held now; and float64[n], the logarithm of its mean over the bets.

    Examples
    --------
    >>> held, won = carried(np.full((1, 2), -np.inf), np.array([[1.0, -1.0]]), 20.0)
    >>> held, won.round(2)
    (array([[ 1., -1.]]), array([0.43]))
    """
    # As `np.logaddexp` would, which takes the numbers one by one.
    held = np.log1p(np.exp(-np.abs(capital)))
    held += np.maximum(capital, 0)
    held += paid
    np.clip(held, NOTHING, most, out=held)
    highest = held.max(axis=1, initial=NOTHING)
    shares = held - highest[:, None]
    return held, np.asarray(highest + np.log(np.exp(shares, out=shares).mean(axis=1)), np.float64)
