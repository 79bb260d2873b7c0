"""Hashes of texts: 64 bits, the same in every process and on every machine, made of whole columns at once.

Python's own are seeded anew in every process, and a cryptographic one costs ten times as much by the call. This is
good enough for sampling and for telling ids apart, and nothing else: who knows it can make texts that collide.
"""

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Ints

Hashes = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

NONE: Final = 0
"""The hash of the empty text, and of no other."""
_MAX_BYTES: Final = 256
"""What of a text is hashed, beside its length: ids are shorter, and a hostile one must not cost more."""
_LANE: Final = 8
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)


@runtime_checkable
class Hashing(Protocol):
    """Texts that can be hashed without being read one by one."""

    def hashes(self) -> Hashes:
        """uint64[n]: the hash of each."""
        ...


def finished(z: Hashes) -> Hashes:
    """Numbers uint64[n] mixed until every bit depends on every other: splitmix64's finaliser.

    References
    ----------
    .. [1] G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def of_texts(texts: Sequence[str]) -> Hashes:
    """uint64[n]: the hash of each text, by its UTF-8 bytes; ``NONE`` for empty ones.

    Examples
    --------
    >>> first, again, empty = of_texts(["e-1", "e-1", ""]).tolist()
    >>> first == again, empty
    (True, 0)
    """
    if isinstance(texts, Hashing):
        return texts.hashes()
    # One join and one search for what was put between take less than asking every text for its length.
    data = ("\0".join(texts) + "\0").encode() if texts else b""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    if len(ends) != len(texts):  # a text holds what was put between
        parts = [text.encode() for text in texts]
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
        data, starts = b"".join(parts), np.concatenate(([0], ends[:-1]))
    return of_bytes(np.frombuffer(data, np.uint8), starts[: len(texts)], ends)


def of_bytes(data: Bytes, starts: Ints, ends: Ints) -> Hashes:
    """uint64[n]: the hash of each run ``data[starts[i]:ends[i]]``.

    Parameters
    ----------
    data
        uint8[b].
    starts, ends
        int64[n] each; starts never fall, and no end is before its start.
    """
    whole = ends - starts
    length = np.minimum(whole, _MAX_BYTES)
    hashes = np.full(len(length), NONE, np.uint64)
    sizes = np.flatnonzero(np.bincount(length, minlength=1))
    for size in sizes[sizes > 0].tolist():
        windows = np.lib.stride_tricks.sliding_window_view(data, size)
        if len(sizes) > 1:
            at = np.flatnonzero(length == size)
            hashes[at] = _mixed(windows[starts[at]], whole[at])
            continue
        # Ids of one length are the rule, and lie at one distance from each other: nothing is to be gathered.
        step = int(starts[1] - starts[0]) if len(starts) > 1 else size
        even = step > 0 and int(starts[-1] - starts[0]) == step * (len(starts) - 1) and (np.diff(starts) == step).all()
        return _mixed(windows[int(starts[0]) : int(starts[-1]) + 1 : step] if even else windows[starts], whole)
    return hashes


def _mixed(rows: Bytes, length: Ints) -> Hashes:
    """Rows uint8[n, size] of texts of int64[n] bytes, eight bytes at a time."""
    count, size = rows.shape
    lanes = np.zeros((count, -(-size // _LANE) * _LANE), np.uint8)
    lanes[:, :size] = rows
    hashes = length.astype(np.uint64) * _SPREAD
    for lane in lanes.view("<u8").T:
        hashes = (hashes ^ lane) * _SPREAD
        hashes ^= hashes >> np.uint64(32)
    hashes = finished(hashes)
    hashes[hashes == NONE] = 1
    return hashes
