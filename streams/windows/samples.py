"""Row samples: the rows of lowest hash of each scope. Bounded, deterministic, independent of the order of arrival.

The hash is of (partition, offset, place in the message), so every life of a partition chooses the same rows, and the
rows of several panes or partitions merge by taking the lowest again: a uniform sample without replacement ("bottom-k",
Cohen and Kaplan, 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.codecs.hashes import Hashes, finished

Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Texts = NDArray[np.object_]

_SLACK_ROWS: Final = 4_096
_HASH_RANGE: Final = 2.0**64 - 2.0**12
"""As much of it as a float can hold and still be made a whole number."""
_MIN_ROWS: Final = 16


def row_hash(partition: int, offset: Ints, index: Ints) -> Hashes:
    """Hashes uint64[n] of events at offsets and places int64[n]: splitmix64's finaliser (Steele et al., 2014)."""
    z = offset.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += index.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03) + np.uint64(
        (partition + 1) * 0x8CB92BA72F3D8DD7 % 2**64
    )
    return finished(z)


@dataclass(slots=True)
class _Chunk:
    scope: Ints
    hash: Hashes
    ts_ms: Ints
    event_id: Texts
    values: Floats32  # [n, k]


@dataclass(frozen=True, slots=True)
class Sample:
    """The sample of one scope: rows by ascending hash; ``values`` float32[r, k], NaN where a row lacks a quantity."""

    names: tuple[str, ...]
    hash: Hashes
    ts_ms: Ints
    event_id: tuple[str, ...]
    values: Floats32


class SampleBuffer:
    """Gathers the rows of lowest hash of many scopes, one buffer per distinct tuple of quantity names.

    ``rows`` per scope at most, fewer when ``budget_bytes`` would not hold that many of all scopes. The number of scopes
    only grows, so the share only shrinks, and a row once dropped would have been dropped at the end too.
    """

    def __init__(self, rows: int, budget_bytes: int) -> None:
        self._rows = rows
        self._budget_bytes = budget_bytes
        self._chunks: dict[tuple[str, ...], list[_Chunk]] = {}
        # rows since the last time that only the lowest were left, and how many these were
        self._new: dict[tuple[str, ...], int] = {}
        self._left: dict[tuple[str, ...], int] = {}
        self._scopes = 0
        self._limit = np.empty(0, np.uint64)

    def limit(self, scopes: int) -> Hashes:
        """The hash uint64[scopes] below which a row of each scope may still be among the lowest."""
        if scopes > len(self._limit):
            grown = np.full(max(scopes, 2 * len(self._limit)), np.iinfo(np.uint64).max, np.uint64)
            grown[: len(self._limit)] = self._limit
            self._limit = grown
        self._scopes = max(self._scopes, scopes)
        return self._limit[:scopes]

    def lowest(self, scope: Ints, hashes: Hashes, scopes: int, width: int) -> Ints:
        """The rows that may be among the lowest of their scope, also of what was added before.

        Parameters
        ----------
        scope, hashes
            int64[n] and uint64[n].
        scopes
            How many scopes there are.
        width
            Quantities of a row.

        Returns
        -------
        int64[m], ascending places.
        """
        limit, keep = self.limit(scopes), self._keep(width)
        at = _low(scope, hashes, limit, keep)
        lowest = _Lowest.of(scope[at], hashes[at], keep)
        lowest.lower(limit)
        return np.sort(at[lowest.rows])

    def add(
        self, names: tuple[str, ...], scope: Ints, hashes: Hashes, ts_ms: Ints, event_id: list[str], values: Floats32
    ) -> None:
        """Add candidate rows: scope int64[n], hashes uint64[n], ts_ms int64[n], n ids, values float32[n, k]."""
        if not len(scope):
            return
        self._chunks.setdefault(names, []).append(_Chunk(scope, hashes, ts_ms, np.array(event_id, object), values))
        self._new[names] = self._new.get(names, 0) + len(scope)
        if self._new[names] > self._left.get(names, 0) + _SLACK_ROWS:
            self._left[names] = self._compact(names)
            self._new[names] = 0

    def take(self) -> dict[int, Sample]:
        """The sample of every scope, and forget them."""
        found: dict[int, list[Sample]] = {}
        for names in list(self._chunks):
            self._compact(names)
            (chunk,) = self._chunks[names]
            starts = np.flatnonzero(np.diff(chunk.scope, prepend=-1)).tolist()
            for low, high in pairwise([*starts, len(chunk.scope)]):
                values = tuple(chunk.event_id[low:high].tolist()), chunk.values[low:high]
                sample = Sample(names, chunk.hash[low:high], chunk.ts_ms[low:high], *values)
                found.setdefault(int(chunk.scope[low]), []).append(sample)
        self._chunks, self._new, self._left = {}, {}, {}
        return {
            scope: merge_samples(samples, self._keep(max(len(s.names) for s in samples)))
            for scope, samples in found.items()
        }

    def _keep(self, width: int) -> int:
        share = self._budget_bytes // (max(1, self._scopes) * 4 * max(1, width))
        return int(min(self._rows, max(_MIN_ROWS, share)))

    def _compact(self, names: tuple[str, ...]) -> int:
        """Leave the lowest rows of each scope, by scope and hash; how many these are."""
        chunks = self._chunks[names]
        scope = np.concatenate([c.scope for c in chunks])
        hashes = np.concatenate([c.hash for c in chunks])
        lowest = _Lowest.of(scope, hashes, self._keep(len(names)))
        lowest.lower(self.limit(self._scopes))
        rows = lowest.rows
        event_id = np.concatenate([c.event_id for c in chunks])
        values = np.concatenate([c.values for c in chunks])
        ts_ms = np.concatenate([c.ts_ms for c in chunks])
        self._chunks[names] = [_Chunk(scope[rows], hashes[rows], ts_ms[rows], event_id[rows], values[rows])]
        return len(rows)


@dataclass(frozen=True, slots=True)
class _Lowest:
    """The rows of lowest hash of each scope: their places by scope and hash, and what that says of the scopes."""

    rows: Ints
    full: Ints
    """Scopes of which there are as many rows as are kept …"""
    highest: Hashes
    """… and the highest hash among these."""

    @classmethod
    def of(cls, scope: Ints, hashes: Hashes, keep: int) -> "_Lowest":
        """The ``keep`` lowest of int64[n] scopes and uint64[n] hashes."""
        order = np.argsort(hashes)  # no two are equal but by a chance of 2^-64
        order = order[np.argsort(scope[order], kind="stable")]
        sizes = np.bincount(scope, minlength=1)
        starts = np.cumsum(sizes) - sizes
        rank = np.arange(len(order)) - starts[scope[order]]
        full = np.flatnonzero(sizes >= keep)
        return cls(order[rank < keep], full, hashes[order[starts[full] + keep - 1]])

    def lower(self, limit: Hashes) -> None:
        """Let no hash above those of a full scope come in any more."""
        limit[self.full] = np.minimum(limit[self.full], self.highest + np.uint64(1))


def _low(scope: Ints, hashes: Hashes, limit: Hashes, keep: int) -> Ints:
    """A first choice: rows among which the ``keep`` lowest hashes below each scope's limit are, and not many others.

    Of m hashes, spread evenly, the ``keep`` lowest lie within (keep + 6 √keep) / m of their range, save one time in
    a thousand million. Where they do not, all rows below the limit stay.
    """
    counts = np.bincount(scope, minlength=len(limit))
    share = np.minimum((keep + 6 * keep**0.5) / np.maximum(counts, 1), 1.0)
    bound = np.minimum((share * _HASH_RANGE).astype(np.uint64), limit)
    at = np.flatnonzero(hashes < bound[scope])
    missed = (np.bincount(scope[at], minlength=len(limit)) < np.minimum(counts, keep)) & (bound < limit)
    return np.flatnonzero(hashes < np.where(missed, limit, bound)[scope]) if missed.any() else at


def merge_samples(samples: Sequence[Sample], rows: int) -> Sample:
    """The ``rows`` rows of lowest hash of several samples of one scope, over all their quantities."""
    if len(samples) == 1 and len(samples[0].hash) <= rows:
        return samples[0]
    names = tuple(dict.fromkeys(name for s in samples for name in s.names))
    place = {name: i for i, name in enumerate(names)}
    hashes = np.concatenate([s.hash for s in samples])
    values = np.full((len(hashes), len(names)), np.nan, np.float32)
    start = 0
    for sample in samples:
        values[start : start + len(sample.hash), [place[n] for n in sample.names]] = sample.values
        start += len(sample.hash)
    order = np.argsort(hashes, kind="stable")[:rows]
    event_id = [e for s in samples for e in s.event_id]
    ts_ms = np.concatenate([s.ts_ms for s in samples])
    return Sample(names, hashes[order], ts_ms[order], tuple(event_id[i] for i in order.tolist()), values[order])
