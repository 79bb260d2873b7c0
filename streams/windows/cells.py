"""Histogram cells: one integer names a series and a bin, whichever kind of histogram the bin belongs to.

A series may hold LogHistogram bins and bins of a baseline side by side, as it does in the window in which its baseline
takes effect; the cell says which is which. Layout of a cell: series id << 16 | code, where a LogHistogram's bin b
(-32000…32000) has the code b + 32768 and a baseline's bin (0…33) the code 65000 + bin.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

CODE_BITS: Final = 16
CODE_MASK: Final = (1 << CODE_BITS) - 1
LOG_ZERO: Final = 32768
BINNED_BASE: Final = 65000


def encode(series: Ints, bins: NDArray[np.integer], *, binned: NDArray[np.bool_] | bool) -> Ints:
    """Cells int64[n] of bins int[n] in series int64[n]; ``binned`` tells a baseline's bins from a LogHistogram's."""
    offset: Ints | int = (
        np.where(binned, BINNED_BASE, LOG_ZERO)
        if isinstance(binned, np.ndarray)
        else (BINNED_BASE if binned else LOG_ZERO)
    )
    return (series << CODE_BITS) | (bins.astype(np.int64) + offset)


def series_of(cells: Ints) -> Ints:
    """The series ids int64[n] of cells int64[n]."""
    return cells >> CODE_BITS


def is_binned(cells: Ints) -> NDArray[np.bool_]:
    """Which cells hold a baseline's bin, bool[n]."""
    return (cells & CODE_MASK) >= BINNED_BASE


def bins_of(cells: Ints) -> NDArray[np.int16]:
    """The bins int16[n] of cells int64[n], of either kind."""
    code = cells & CODE_MASK
    return np.where(code >= BINNED_BASE, code - BINNED_BASE, code - LOG_ZERO).astype(np.int16)
