"""Samples of event ids: how many come more than once, with an error that is known, in a few hundred bytes.

Of all ids those of lowest hash are kept, each with how often it came ("bottom-k" over distinct values). Whether an id
is in the sample depends on the id alone: so an event that comes again, in another pane or from another partition,
meets itself there. The share of repeated ids in a sample of d ids is that of all ids, with a standard error of
√(q (1 - q) / d), and exactly nothing where no id repeats.

What is kept follows from the ids alone, not from their order, nor from when sums are folded: below a *limit* every id
is known, and the limit of k ids is just under the next one.

References
----------
.. [1] E. Cohen, H. Kaplan, "Summarizing data using bottom-k sketches", 2007.
.. [2] P. B. Gibbons, "Distinct sampling for highly-accurate answers to distinct values queries", 2001.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from schemas.codecs.hashes import NONE, Hashes

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WINDOW_IDS: Final = 256
"""Ids that a window keeps of a scope, 3 kB: a share of 5 % of so many has a standard error of 1.4 points, a half 3."""
PANE_SLACK: Final = 1 << 19
"""Ids that wait in a window of panes, 12 MB at most: those of two thousand panes, which one pass sorts out."""
ALL: Final = np.uint64(2**64 - 1)
"""The limit where every id is known."""
_SLACK: Final = 8_192
_RADIX_MAX: Final = 1 << 16
_MANY: Final = 4
"""How many times as many events as are kept it takes to be worth a look at which may stay."""
_ROOM: Final = 8
_HASH_RANGE: Final = 2.0**64 - 2.0**12
"""As much of it as a float can hold and still be made a whole number."""
_FIRST: Final = 1.5
"""How many times as many ids as are kept are looked at first: hashes are spread evenly, so these nearly always do."""


@dataclass(frozen=True, slots=True)
class SampledIds:
    """The samples of s scopes, by ascending scope.

    ``scope``, ``events`` int64[s]: who, and how many events with an id; ``limit`` uint64[s]: every id whose hash is at
    or below it is known. The ids of scope i, by ascending hash, stand at ``offsets[i]``…``offsets[i + 1]`` of
    ``hashes`` uint64[h] and ``counts`` int64[h], how often each came.
    """

    scope: Ints
    events: Ints
    limit: Hashes
    offsets: Ints
    hashes: Hashes
    counts: Ints

    @property
    def sampled(self) -> Ints:
        """int64[s]: ids of the sample."""
        return np.diff(self.offsets)

    @property
    def repeated(self) -> Ints:
        """int64[s]: ids of the sample that came more than once."""
        return self._totals((self.counts > 1).astype(np.int64))

    @property
    def sampled_events(self) -> Ints:
        """int64[s]: events of the ids of the sample."""
        return self._totals(self.counts)

    def _totals(self, values: Ints) -> Ints:
        return np.diff(np.concatenate(([0], np.cumsum(values)))[self.offsets])


class IdSums:
    """A growing sample of the ids of many scopes, ``keep`` of each.

    Parameters
    ----------
    keep
        Ids of a scope.
    slack
        Ids that may wait, beyond as many as are kept, before they are sorted out.

    Notes
    -----
    24 bytes per id that is kept, and as much for each that waits.
    """

    __slots__ = ("_chunks", "_events", "_keep", "_limit", "_others", "_settled", "_slack", "_waiting")

    def __init__(self, keep: int, slack: int = _SLACK) -> None:
        self._keep = keep
        self._slack = slack
        self._chunks: list[tuple[Ints, Hashes, Ints]] = []
        self._others: list[SampledIds] = []
        self._waiting = 0
        self._settled = 0  # ids of the first chunk, which were sorted out already
        self._limit = np.empty(0, np.uint64)
        self._events = np.empty(0, np.int64)

    def add(self, scope: Ints, hashes: Hashes) -> None:
        """Add events: int64[n] scopes and uint64[n] hashes of their ids, ``NONE`` for those without."""
        known = hashes != NONE
        if not known.all():
            scope, hashes = scope[known], hashes[known]
        if not self._keep or not len(scope):
            return
        self._take_in()
        counts = np.bincount(scope)
        self._reserve(len(counts))
        self._events[: len(counts)] += counts
        low = self._low(scope, hashes, int(np.count_nonzero(counts)))
        self._hold(scope[low], hashes[low], np.ones(len(low), np.int64))

    def merge(self, other: SampledIds) -> None:
        """Add the samples of others, of whatever size."""
        if not len(other.scope):
            return
        # Panes come one scope at a time: what they are is looked at for many of them together.
        self._others.append(other)
        self._waiting += 1 + len(other.hashes)  # a lower limit alone is something to be sorted out, too
        self._settle_many()

    def fold(self) -> SampledIds:
        """The samples, each id once."""
        self._take_in()
        self._settle()
        seen = np.flatnonzero(self._events)
        scope, hashes, counts = self._chunks[0] if self._chunks else (seen[:0], self._limit[:0], seen[:0])
        offsets = np.append(np.searchsorted(scope, seen), len(scope))
        return SampledIds(seen, self._events[seen], self._limit[seen], offsets, hashes, counts)

    def to_parts(self) -> dict[str, bytes]:
        """Plain data, for msgpack."""
        folded = self.fold()
        return {name: getattr(folded, name).tobytes() for name in SampledIds.__slots__}

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes] | None, keep: int) -> Self:
        """What :meth:`to_parts` was taken of; an empty sample for None, of a time before there were any."""
        sums = cls(keep)
        if parts is not None:
            dtypes = {"limit": np.uint64, "hashes": np.uint64}
            arrays: dict[str, Any] = {
                name: np.frombuffer(raw, dtypes.get(name, np.int64)) for name, raw in parts.items()
            }
            sums.merge(SampledIds(**arrays))
        return sums

    def _reserve(self, scopes: int) -> None:
        have = len(self._events)
        if scopes > have:
            size = max(scopes, 2 * have, _ROOM)
            self._limit = np.concatenate((self._limit, np.full(size - have, ALL)))
            self._events = np.concatenate((self._events, np.zeros(size - have, np.int64)))

    def _low(self, scope: Ints, hashes: Hashes, scopes: int) -> Ints:
        """Places of events that may be in the sample, and of few others."""
        limit = self._limit[scope]
        inside = hashes <= limit
        if int(np.count_nonzero(inside)) <= _MANY * self._keep * scopes:
            return np.flatnonzero(inside)
        # The first events of busy scopes: all are below their limits, and next to none will stay.
        share = np.minimum(_FIRST * (self._keep + 1) / np.maximum(self._events, 1), 1.0)
        bound = np.minimum((share * _HASH_RANGE).astype(np.uint64), self._limit)
        first = np.flatnonzero(inside & (hashes < bound[scope]))
        enough = _distinct(scope[first], hashes[first], len(bound)) > self._keep
        self._limit[enough] = np.minimum(self._limit[enough], bound[enough] - np.uint64(1))
        return np.flatnonzero(inside & (hashes <= self._limit[scope]))

    def _hold(self, scope: Ints, hashes: Hashes, counts: Ints) -> None:
        if len(scope):
            self._chunks.append((scope, hashes, counts))
            self._waiting += len(scope)
        self._settle_many()

    def _settle_many(self) -> None:
        if self._waiting > self._slack + self._settled:
            self._take_in()
            self._settle()

    def _take_in(self) -> None:
        """Add up what was merged."""
        if not self._others:
            return
        others, self._others = self._others, []
        scope, events, limit, hashes, counts, offsets = (
            np.concatenate([getattr(other, name) for other in others])
            for name in ("scope", "events", "limit", "hashes", "counts", "offsets")
        )
        self._reserve(int(scope.max()) + 1)
        np.add.at(self._events, scope, events)
        np.minimum.at(self._limit, scope, limit)
        # Each has one offset more than it has scopes.
        last = np.cumsum([len(other.offsets) for other in others])[:-1] - 1
        sampled = np.delete(np.diff(offsets), last)
        self._chunks.append((np.repeat(scope, sampled), hashes, counts))

    def _settle(self) -> None:
        """Leave the lowest ids of each scope, by scope and hash."""
        if not self._waiting or not self._chunks:
            return
        scope, hashes, counts = (np.concatenate([chunk[part] for chunk in self._chunks]) for part in range(3))
        below = hashes <= self._limit[scope]
        bound = self._bound(scope[below])
        low = below & (hashes <= bound[scope])
        ids = _each_once(scope[low], hashes[low], counts[low])
        few = (bound < self._limit) & (np.bincount(ids[0], minlength=len(bound)) <= self._keep)
        if few.any():
            low |= below & few[scope]
            ids = _each_once(scope[low], hashes[low], counts[low])
        scope, hashes, counts = ids
        sizes = np.bincount(scope, minlength=len(bound))
        rank = np.arange(len(scope)) - (np.cumsum(sizes) - sizes)[scope]
        over = rank == self._keep
        self._limit[scope[over]] = hashes[over] - np.uint64(1)
        kept = rank < self._keep
        self._chunks = [(scope[kept], hashes[kept], counts[kept])]
        self._waiting, self._settled = 0, int(np.count_nonzero(kept))

    def _bound(self, scope: Ints) -> Hashes:
        """Limits below which nearly always lie enough ids of each scope, and few more: the others need no sorting."""
        share = _FIRST * (self._keep + 1) / np.maximum(np.bincount(scope, minlength=len(self._limit)), 1)
        tight = np.minimum(share, 1.0) * np.minimum(self._limit, _HASH_RANGE)
        return np.where(share < 1, np.minimum(tight.astype(np.uint64), self._limit), self._limit)


def _each_once(scope: Ints, hashes: Hashes, counts: Ints) -> tuple[Ints, Hashes, Ints]:
    """Ids by scope and hash, with how often each came."""
    order = _order(scope, hashes)
    scope, hashes = scope[order], hashes[order]
    heads = np.flatnonzero(_changes(scope, hashes))
    counts = np.add.reduceat(counts[order], heads) if len(heads) else counts
    return scope[heads], hashes[heads], counts


def _order(scope: Ints, hashes: Hashes) -> Ints:
    """Places int64[n] by scope and hash."""
    order = np.argsort(hashes)
    small = not len(scope) or int(scope.max()) < _RADIX_MAX
    # numpy sorts 16-bit numbers by their digits, ten times as fast
    return order[np.argsort((scope.astype(np.uint16) if small else scope)[order], kind="stable")]


def _changes(scope: Ints, hashes: Hashes) -> Bools:
    """Where another (scope, hash) begins, bool[n], of pairs in order."""
    heads = np.ones(len(scope), np.bool_)
    heads[1:] = (scope[1:] != scope[:-1]) | (hashes[1:] != hashes[:-1])
    return heads


def _distinct(scope: Ints, hashes: Hashes, scopes: int) -> Ints:
    """How many distinct hashes each of so many scopes has: int64[scopes]."""
    order = _order(scope, hashes)
    heads = _changes(scope[order], hashes[order])
    return np.bincount(scope[order[heads]], minlength=scopes)
