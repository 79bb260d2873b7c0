"""The traffic that is measured with: predictions of several models, about 320 bytes each as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.codecs import encode_arrow

COUNTRIES = ("DE", "FR", "PL", "US")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is generated.

    Attributes
    ----------
    models, versions
        Each model has so many versions; a version's whole and its four countries are five scopes.
    features
        Numeric features of an event.
    rate_per_s
        Events a second of event time.
    start_ms
        Time of the first event.
    """

    models: int = 10
    versions: int = 1
    features: int = 5
    rate_per_s: float = 20_000.0
    start_ms: int = 1_767_225_600_000

    @property
    def scopes(self) -> int:
        """How many scopes the events make."""
        return self.models * self.versions * (1 + len(COUNTRIES))

    def columns(self, first: int, count: int) -> dict[str, Any]:
        """Columns of ``count`` events from number ``first`` on; the same numbers give the same events."""
        rng = np.random.default_rng([17, first])
        at = np.arange(first, first + count)
        who = rng.integers(self.models * self.versions, size=count)
        wide = rng.standard_normal((self.features, count))
        return {
            "event_id": [f"01J9ZQ4T6W-{i:012d}" for i in at.tolist()],
            "ts_ms": self.start_ms + (at * (1000 / self.rate_per_s)).astype(np.int64),
            "model": [f"model-{i // self.versions:04d}" for i in who.tolist()],
            "model_version": [f"2026-01-{1 + i % self.versions:02d}" for i in who.tolist()],
            "segment": {"country": [COUNTRIES[i] for i in rng.integers(len(COUNTRIES), size=count).tolist()]},
            "latency_ms": np.round(rng.lognormal(3.0, 0.6, count), 3),
            "status": np.where(rng.random(count) < 0.01, "timeout", "ok").tolist(),
            "score": np.round(rng.beta(1.2, 9.0, count), 6),
            "decision": np.where(rng.random(count) < 0.1, "deny", "approve").tolist(),
            "features": {f"feature_{i}": np.round(100 + 15 * row, 4) for i, row in enumerate(wide)},
        }

    def json(self, first: int, count: int, **changes: Any) -> list[bytes]:
        """The same events, one JSON message each; ``changes`` replace columns."""
        return [_encode(event) for event in rows(self.columns(first, count) | changes)]

    def arrow(self, first: int, count: int) -> bytes:
        """The same events in one Arrow IPC stream."""
        return encode_arrow(self.columns(first, count))


def rows(columns: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Columns, event by event."""
    lists = [list(rows(column)) if isinstance(column, dict) else _listed(column) for column in columns.values()]
    for values in zip(*lists, strict=True):
        yield dict(zip(columns, values, strict=True))


def _listed(column: list[Any] | NDArray[Any]) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column
