"""Event keys: what an event says of its model, version and segments, made canonical once per distinct combination."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from schemas.codecs.limits import Limits
from schemas.codecs.texts import TRUNCATED, Notes, as_text
from schemas.columns import Codes, EventKey


@dataclass(frozen=True, slots=True)
class Cuts:
    """What of a key was over a limit."""

    segments: bool = False
    texts: bool = False


def event_key(
    model: str, version: str, segments: Iterable[tuple[str, object]], limits: Limits
) -> tuple[EventKey, Cuts]:
    """The canonical key: null segments are left out, values are texts, what is over a limit is cut."""
    given = tuple([(name, as_text(value)) for name, value in segments if value is not None])
    return _cut(model, version, given, limits.max_segments, limits.max_text_chars)


@lru_cache(maxsize=16_384)
def _cut(
    model: str, version: str, given: tuple[tuple[str, str], ...], max_segments: int, width: int
) -> tuple[EventKey, Cuts]:
    """Remembered: a serving stack says the same few things again and again, and one object per key is found by it."""
    kept = [(name, value) for name, value in given if len(name) <= width][:max_segments]
    long = max(len(text) for text in (model, version, *(value for _, value in kept))) > width
    pairs = tuple(sorted((name, value[:width]) for name, value in kept))
    return EventKey(model[:width], version[:width], pairs), Cuts(len(kept) < len(given), long)


def canonical(codes: Codes, keys: list[tuple[EventKey, Cuts]], notes: Notes) -> tuple[Codes, tuple[EventKey, ...]]:
    """Codes into distinct keys, where several spellings may have become one, and notes of what was cut."""
    for counter in ("segments", "texts"):
        flags = [getattr(cuts, counter) for _, cuts in keys]
        if any(flags):
            notes.add(TRUNCATED, counter, np.flatnonzero(np.array(flags)[codes]))
    distinct = tuple(dict.fromkeys(key for key, _ in keys))
    if len(distinct) == len(keys):
        return codes, distinct
    places = {key: place for place, key in enumerate(distinct)}
    return np.array([places[key] for key, _ in keys], np.int32)[codes], distinct
