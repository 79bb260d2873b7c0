"""Scopes: what a number is about. A model, one of its segments, its reads of a feature set, a feature set, a GPU."""

from enum import StrEnum
from typing import Final
from zlib import crc32

import msgspec

OTHER: Final = "__other__"
"""The bucket of everything above a cap: scopes, features, categories and segments alike."""

INVALID: Final = "__invalid__"
"""The model name under which events that could not be decoded are counted, one scope per source topic."""


class Family(StrEnum):
    """Where a scope's events come from.

    ``READ`` are those events of the topic of ``FEATURE`` that name the model that asked, counted once more for it.
    """

    PREDICTION = "prediction"
    FEATURE = "feature"
    GPU = "gpu"
    LABEL = "label"
    READ = "read"

    @property
    def timeline(self) -> "Family":
        """The family whose watermarks close its windows, which hold its scopes too: itself, but for reads."""
        return Family.FEATURE if self is Family.READ else self


class Scope(msgspec.Struct, frozen=True, array_like=True, order=True, cache_hash=True):
    """The identity of a group of series.

    Parameters
    ----------
    family
        The kind of events that are counted.
    model
        The model's name; the feature set's for ``FEATURE``; the host's for ``GPU``. For ``READ`` that of the model that
        asked, so that what it was served meets what it says it was given.
    model_version
        The model's version, ``""`` when unknown; the GPU's uuid for ``GPU``; ``""`` for ``LABEL`` and ``READ``.
    segment
        ``"name=value"``, or ``""`` for the whole. Reads are always of one set, ``"feature_set=card-history"``: whoever
        asks for the whole of a model gets none of them.
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
