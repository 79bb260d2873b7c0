"""Counters that come only in windows where they counted something: the silence after them must be heard too."""

from typing import Self

import numpy as np

from detectors import state
from detectors.protocol import Ints, WindowBatch
from detectors.scoring import Subject


class KnownCounters:
    """The series of one counter, of every scope that ever had it.

    Parameters
    ----------
    name
        The counter's.

    Notes
    -----
    16 bytes per scope. Without this a finding about a counter would never end: no count, no series, no score.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._series: dict[int, int] = {}

    def find(self, windows: WindowBatch) -> tuple[Subject, Ints]:
        """The series of the window's scopes, by place of scope, and their places in its categories, -1 for no count."""
        categories, ids = windows.categories, windows.scopes.id.tolist()
        here: dict[int, int] = {}
        for place, name in enumerate(categories.name):
            if name == self._name and categories.counter[place]:
                scope = int(categories.scope[place])
                here[scope] = place
                self._series[ids[scope]] = int(categories.series[place])
        scopes = [scope for scope, id_ in enumerate(ids) if id_ in self._series]
        series = np.array([self._series[ids[scope]] for scope in scopes], np.int64)
        at = np.array(scopes, np.int64)
        subject = Subject(series, at, [self._name] * len(scopes), windows.scopes.rows[at])
        return subject, np.array([here.get(scope, -1) for scope in scopes], np.int64)

    def forget(self, series: Ints) -> None:
        """Drop ``series``."""
        gone = set(series.tolist())
        self._series = {scope: number for scope, number in self._series.items() if number not in gone}

    def to_bytes(self, kind: str, version: int) -> bytes:
        """Which series is whose."""
        known = sorted(self._series.items())
        return state.pack(kind, version, {"known": np.array(known, np.int64).reshape(-1, 2)})

    @classmethod
    def from_bytes(cls, raw: bytes, kind: str, version: int, name: str) -> Self:
        """What :meth:`to_bytes` saved; raises StateError if it is not that."""
        result = cls(name)
        result._series = dict(state.unpack(raw, kind, version)["known"].tolist())
        return result
