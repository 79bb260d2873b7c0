"""What waits in an open pane is weighed as it is, so that the bound on it holds whatever a producer sends."""

import sys

import numpy as np

from streams.ingest.pending import Texts


def test_new_texts_weigh_what_they_take() -> None:
    texts, rows = Texts(), np.zeros(1_000, np.int64)
    values = tuple(f"{place:0256d}" for place in range(1_000))
    counted = texts.add(rows, np.arange(1_000, dtype=np.int32), values)
    assert counted >= sum(map(sys.getsizeof, values)) + sys.getsizeof(texts.numbers)
    again = texts.add(rows, np.arange(1_000, dtype=np.int32), values)
    assert again < counted / 20
