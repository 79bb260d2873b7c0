"""Scopes: what a number is about. A model as a whole, one of its segments, a feature set, or a GPU."""

from enum import StrEnum
from typing import Final
from zlib import crc32

import msgspec

OTHER: Final = "__other__"
"""The bucket of everything above a cap: scopes, features, categories and segments alike."""

INVALID: Final = "__invalid__"
"""The model name under which events that could not be decoded are counted, one scope per source topic."""


class Family(StrEnum):
    """Where a scope's events come from."""

    PREDICTION = "prediction"
    FEATURE = "feature"
    GPU = "gpu"
    LABEL = "label"


class Scope(msgspec.Struct, frozen=True, array_like=True, order=True, cache_hash=True):
    """The identity of a group of series.

    Parameters
    ----------
    family
        The kind of events that are counted.
    model
        The model's name; the feature set's for ``FEATURE``; the host's for ``GPU``.
    model_version
        The model's version, ``""`` when unknown; the GPU's uuid for ``GPU``; ``""`` for ``LABEL``.
    segment
        ``"name=value"``, or ``""`` for the whole.
    """

    family: Family
    model: str
    model_version: str = ""
    segment: str = ""

    @property
    def whole(self) -> "Scope":
        """The same model version without a segment."""
        return self if not self.segment else Scope(self.family, self.model, self.model_version)

    def pane_partition(self, partitions: int) -> int:
        """Which of so many partitions of ``panes`` it goes to: one for all versions and segments of a model."""
        return crc32(self.model.encode()) % partitions
