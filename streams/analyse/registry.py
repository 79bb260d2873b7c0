"""Numbers for scopes and series: small integers that index the columns of windows, references and detectors."""

from sys import intern
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from schemas.scopes import INVALID, OTHER, Family, Scope

Ints = NDArray[np.int64]

_NONE: Final = -1


class Registry:
    """The scopes and series of one partition of ``panes``, numbered in the order in which they come.

    Numbers of scopes that were dropped are given again; so the columns they index stay as small as the cap.

    Parameters
    ----------
    scopes
        The most scopes at a time; what comes above it is counted in its family's ``__other__``.
    """

    def __init__(self, scopes: int) -> None:
        self.cap = scopes
        self.capped = 0
        self.scopes: list[Scope | None] = []
        self.names: list[str] = []
        self._id: dict[Scope, int] = {}
        self._of_scope: list[dict[str, int]] = []
        self._scope_of = np.empty(0, np.int64)
        self._free_scopes: list[int] = []
        self._free_series: list[int] = []
        self._cache: dict[tuple[int, tuple[str, ...]], Ints] = {}

    @property
    def series(self) -> int:
        """How many numbers of series have been given; one more than the highest."""
        return len(self.names)

    @property
    def scope_of(self) -> Ints:
        """The scope of every series, int64[series]; -1 for numbers that are free."""
        return self._scope_of[: len(self.names)]

    def series_of(self, scope: int) -> list[int]:
        """The numbers of a scope's series."""
        return list(self._of_scope[scope].values())

    def known(self) -> list[tuple[int, Scope]]:
        """(number, scope) of all scopes there are."""
        return [(number, scope) for number, scope in enumerate(self.scopes) if scope is not None]

    def names_of(self, scope: int) -> list[str]:
        """The names of a scope's series."""
        return list(self._of_scope[scope])

    def has(self, family: Family) -> bool:
        """Whether a scope of a family is known."""
        return any(scope is not None and scope.family is family for scope in self.scopes)

    def find(self, scope: Scope) -> int | None:
        """The number of a scope that is known."""
        return self._id.get(scope)

    def scope(self, scope: Scope) -> int:
        """The number of a scope; a new one gets the next, or that of ``__other__`` when there are too many."""
        number = self._id.get(scope)
        if number is not None:
            return number
        if len(self._id) >= self.cap and scope.model not in (OTHER, INVALID):
            self.capped += 1
            return self.scope(Scope(Family(scope.family), OTHER))
        if self._free_scopes:
            number = self._free_scopes.pop()
            self.scopes[number] = scope
        else:
            number = len(self.scopes)
            self.scopes.append(scope)
            self._of_scope.append({})
        self._id[scope] = number
        return number

    def ids(self, scope: int, names: tuple[str, ...]) -> Ints:
        """The numbers of some series of a scope, int64[k]."""
        known = self._cache.get((scope, names))
        if known is None:
            if len(self._cache) > 4 * max(self.cap, 64):
                self._cache.clear()
            known = self._cache[scope, names] = np.array([self.id(scope, name) for name in names], np.int64)
        return known

    def id(self, scope: int, name: str) -> int:
        """The number of one series."""
        known = self._of_scope[scope]
        number = known.get(name)
        if number is None:
            if self._free_series:
                number = self._free_series.pop()
                self.names[number] = name
            else:
                number = len(self.names)
                self.names.append(name)
                self._reserve(number + 1)
            known[name] = number
            self._scope_of[number] = scope
        return number

    def drop(self, scope: int) -> Ints:
        """Forget a scope; the numbers of its series, int64[k], are free from now on."""
        gone = self.scopes[scope]
        if gone is None:
            return np.empty(0, np.int64)
        freed = self.series_of(scope)
        self._scope_of[freed] = _NONE
        self._free_series.extend(freed)
        self._of_scope[scope] = {}
        del self._id[gone]
        self.scopes[scope] = None
        self._free_scopes.append(scope)
        self._cache.clear()
        return np.array(freed, np.int64)

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        return {
            "scopes": [[] if s is None else [s.family, s.model, s.model_version, s.segment] for s in self.scopes],
            "names": self.names,
            "scope_of": self.scope_of.tolist(),
            "free_scopes": self._free_scopes,
            "free_series": self._free_series,
            "capped": self.capped,
        }

    @classmethod
    def from_parts(cls, parts: dict[str, Any], scopes: int) -> Self:
        """The registry :meth:`to_parts` was taken of."""
        registry = cls(scopes)
        registry.scopes = [Scope(Family(s[0]), *s[1:]) if s else None for s in parts["scopes"]]
        registry._id = {scope: number for number, scope in registry.known()}
        registry._of_scope = [{} for _ in registry.scopes]
        registry.names = [intern(name) for name in parts["names"]]
        registry._scope_of = np.array(parts["scope_of"], np.int64)
        for number, scope in enumerate(parts["scope_of"]):
            if scope != _NONE:
                registry._of_scope[scope][registry.names[number]] = number
        registry._free_scopes = list(parts["free_scopes"])
        registry._free_series = list(parts["free_series"])
        registry.capped = int(parts["capped"])
        return registry

    def _reserve(self, size: int) -> None:
        if size > len(self._scope_of):
            grown = np.full(max(size, 2 * len(self._scope_of), 64), _NONE, np.int64)
            grown[: len(self._scope_of)] = self._scope_of
            self._scope_of = grown
