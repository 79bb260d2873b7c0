"""Random numbers by key: what is drawn for an event depends on who it is, never on what was drawn before it.

A generator that is stepped gives an event other numbers when the events before it are made elsewhere, or when a fault
draws some more. Here each number is a hash of (seed, entity, second, place within the second, what is drawn), so that
any second can be made alone, in any process and in any batch. A counter-based generator in the sense of [1]_, with the
finaliser of SplitMix64 [2]_ as its hash: whole columns at once, some nanoseconds a number.

References
----------
.. [1] J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
.. [2] G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.columns import Bools, Floats, Ints

_Hashes = NDArray[np.uint64]
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_STEP_SECOND: Final = np.uint64(0x9E3779B97F4A7C15)
_STEP_PLACE: Final = np.uint64(0xD1B54A32D192ED03)
_POISSON_EXACT: Final = 16.0
"""Up to this mean counts are drawn by inversion, over it by a normal with its skew corrected."""


@lru_cache(maxsize=4096)
def key_of(*parts: object) -> np.uint64:
    """A key of 64 bits for names and numbers; the same in every process."""
    text = "\x1f".join(str(part) for part in parts)
    return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))


@dataclass(frozen=True, slots=True)
class Draws:
    """What is drawn for n rows; each name of a draw is a column of its own, independent of the others."""

    base: _Hashes

    @classmethod
    def of(cls, key: np.uint64, second: Ints, place: Ints) -> "Draws":
        """The draws of rows that are told by (second, place), int64[n] each, under the key of seed and entity."""
        hashed = _mixed(second.astype(np.uint64) * _STEP_SECOND + key)
        return cls(_mixed(hashed + place.astype(np.uint64) * _STEP_PLACE))

    def __len__(self) -> int:
        return len(self.base)

    def uniform(self, what: str) -> Floats:
        """float64[n] in the open interval 0…1."""
        return ((self._hashed(what) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, what: str) -> Floats:
        """float64[n] of the standard normal distribution, up to 6.7 in size (Box and Muller)."""
        hashed = self._hashed(what)
        radius = np.sqrt(-2.0 * np.log(((hashed >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32))
        angle = (hashed & np.uint64(0xFFFFFFFF)).astype(np.float64) * (2.0 * np.pi * 2.0**-32)
        return np.asarray(radius * np.cos(angle), np.float64)

    def happens(self, what: str, ratio: Floats | float) -> Bools:
        """bool[n], true with the probability ``ratio``."""
        return self.uniform(what) < ratio

    def poisson(self, what: str, mean: Floats) -> Ints:
        """int64[n] counts of these means, float64[n], >= 0."""
        counts = np.zeros(len(mean), np.int64)
        few = mean <= _POISSON_EXACT
        if few.any():
            counts[few] = _inverted(self.uniform(what)[few], mean[few])
        if not few.all():
            z, many = self.normal(what)[~few], mean[~few]
            # Cornish and Fisher's expansion to the skewness of a Poisson distribution.
            counts[~few] = np.maximum(np.rint(many + np.sqrt(many) * z + (z * z - 1.0) / 6.0), 0.0)
        return counts

    def _hashed(self, what: str) -> _Hashes:
        return _mixed(self.base + key_of(what))


def _mixed(values: _Hashes) -> _Hashes:
    mixed = values ^ (values >> np.uint64(30))
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _inverted(uniform: Floats, mean: Floats) -> Ints:
    counts = np.zeros(len(mean), np.int64)
    term = np.exp(-mean)
    below = term.copy()
    count = 0
    while (left := uniform > below).any() and count < 10 * _POISSON_EXACT:
        counts += left
        count += 1
        term = term * mean / count
        below = below + term
    return counts
