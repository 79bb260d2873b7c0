"""The versions of a model that are served at the same time, and how its traffic is shared among them."""

from collections import defaultdict

import numpy as np

from detectors.protocol import Floats, Ints, ScopeColumns
from schemas.scopes import Family


def versions(scopes: ScopeColumns) -> tuple[Ints, Ints]:
    """The wholes of models' versions.

    Returns
    -------
    int64[k] each: places in the scopes, and which of them belong to one model (numbered from 0).
    """
    number: dict[str, int] = defaultdict(lambda: len(number))
    whole = [at for at, key in enumerate(scopes.key) if key.family is Family.PREDICTION and not key.segment]
    model = [number[scopes.key[at].model] for at in whole]
    return np.array(whole, np.int64), np.array(model, np.int64)


def share_of_model(scopes: ScopeColumns) -> Floats:
    """Each version's share of its model's events: float64[S], 0…1; 0 for segments and all that is no model.

    Examples
    --------
    >>> from schemas.scopes import Scope
    >>> none, rows = np.zeros(3, np.int64), np.array([90, 10, 40])
    >>> keys = [Scope(Family.PREDICTION, "m", *rest) for rest in (("1",), ("2",), ("1", "tier=free"))]
    >>> columns = ScopeColumns(none, [], rows, none, none, none, np.zeros(3), np.zeros(3), {}, keys)
    >>> share_of_model(columns)
    array([0.9, 0.1, 0. ])
    """
    shares = np.zeros(len(scopes.id))
    whole, model = versions(scopes)
    if len(whole):
        shares[whole] = scopes.rows[whole] / np.maximum(np.bincount(model, scopes.rows[whole])[model], 1)
    return shares
