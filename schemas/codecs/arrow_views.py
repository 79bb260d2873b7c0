"""Between Arrow and numpy without pandas.

``Array.to_numpy`` and ``pyarrow.array`` import pandas where it is installed: 60 MB of memory, and a second of the first
message's time.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.columns import Ints


def view(column: pa.Array) -> NDArray[Any]:
    """The numbers of a column without nulls, read-only and not copied."""
    numbers: NDArray[Any] = np.from_dlpack(column)
    return numbers


def is_null(column: pa.Array) -> NDArray[np.bool_]:
    """Where a column is null, bool[n]."""
    if not column.null_count:
        return np.zeros(len(column), np.bool_)
    nulls = pc.cast(column.is_null(), pa.uint8())
    # Ids stay in the parts in which they came: what is said about them need not.
    return view(nulls.combine_chunks() if isinstance(nulls, pa.ChunkedArray) else nulls).view(np.bool_)


def index_array(places: Ints) -> pa.Array:
    """int64[n] places as Arrow's ``take`` wants them."""
    return pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(np.ascontiguousarray(places))])
