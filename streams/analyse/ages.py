"""How long scopes have been known, and since when they are silent."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.scopes import Family
from streams.analyse.registry import Registry
from streams.analyse.window import Window

_DAY_MS: Final = 24 * 3_600_000
_IDLE_DAYS: Final = {Family.LABEL: 8}
"""Labels may come in a file a week, and are missed only if somebody remembers that they came."""


def idle_ms(family: Family) -> int:
    """How long a scope of a family may be silent before it is forgotten."""
    return _IDLE_DAYS.get(family, 1) * _DAY_MS


class Ages:
    """When each scope was first and last seen, in event time."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def see(self, window: Window) -> None:
        """Take in a closed pane."""
        for scope, rows in window.rows.items():
            self._first.setdefault(scope, window.start_ms)
            if rows:
                self._last[scope] = window.start_ms

    def knows(self, scope: int) -> bool:
        """Whether a scope was seen."""
        return scope in self._first

    def windows(self, scopes: list[int], start_ms: int, size_ms: int) -> NDArray[np.int64]:
        """Windows of a size since each scope was first seen, int64[n]."""
        first = np.array([self._first[scope] for scope in scopes], np.int64)
        return np.maximum((start_ms - first) // size_ms, 0)

    def take_silent(self, now_ms: int, family: Family, registry: Registry) -> list[int]:
        """The scopes of a family's windows to forget; they are not known any more."""
        idle = idle_ms(family)
        own = {number for number, scope in registry.known() if scope.family.timeline is family}
        silent = [scope for scope, last in self._last.items() if scope in own and now_ms - last > idle]
        for scope in silent:
            del self._last[scope]
            self._first.pop(scope, None)
        return silent

    def to_parts(self) -> dict[str, Any]:
        """Plain data, for msgpack."""
        return {"first": self._first, "last": self._last}

    def load_parts(self, parts: dict[str, Any]) -> None:
        """Take over what :meth:`to_parts` gave."""
        self._first, self._last = dict(parts["first"]), dict(parts["last"])
