"""Numbers for the series of one open pane, given in the order in which its events bring them."""

import numpy as np
from numpy.typing import NDArray

from streams.binnings import FEATURE_PREFIX

Ints = NDArray[np.int64]


class SeriesNumbers:
    """The series of a pane, and which scope each belongs to.

    Parameters
    ----------
    features
        The most features of a scope; those that come above it get no number.

    Attributes
    ----------
    names, scope_of
        Of every series, by its number.
    capped
        Scope → how many of its features were over the cap.
    """

    def __init__(self, features: int) -> None:
        self.names: list[str] = []
        self.scope_of: list[int] = []
        self.capped: dict[int, int] = {}
        self._cap = features
        self._number: dict[tuple[int, str], int] = {}
        self._of_names: dict[tuple[int, tuple[str, ...]], Ints] = {}
        self._features: dict[int, int] = {}

    def of(self, scope: int, name: str) -> int:
        """The number of one series."""
        number = self._number.get((scope, name))
        if number is None:
            number = self._number[scope, name] = len(self.names)
            self.names.append(name)
            self.scope_of.append(scope)
        return number

    def of_all(self, scope: int, names: tuple[str, ...]) -> Ints:
        """The numbers of some series of a scope, int64[k]; -1 for features over the cap."""
        known = self._of_names.get((scope, names))
        if known is None:
            known = self._of_names[scope, names] = np.array([self._under_cap(scope, name) for name in names], np.int64)
        return known

    def _under_cap(self, scope: int, name: str) -> int:
        if name.startswith(FEATURE_PREFIX) and (scope, name) not in self._number:
            if self._features.get(scope, 0) >= self._cap:
                self.capped[scope] = self.capped.get(scope, 0) + 1
                return -1
            self._features[scope] = self._features.get(scope, 0) + 1
        return self.of(scope, name)
