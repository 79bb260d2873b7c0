"""How a worker's process uses memory: set once, before the first stage starts."""

import ctypes
import gc
import sys
from typing import Final

_COLLECT_AFTER: Final = (50_000, 20, 20)
# The parameters of glibc's mallopt, from malloc.h.
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2
_LARGE_BYTES: Final = 512 * 1024


def settle() -> None:
    """Look for cycles rarely, and give large arrays back to the system when they are freed.

    Records and columns come and go by the ten thousand without a cycle among them: at Python's own thresholds, looking
    for cycles takes an eighth of the time of an event. And glibc, left alone, keeps ever larger blocks for itself once
    they have been freed, in an arena for every thread: a worker that adds up large arrays would hold twice what it
    needs. Elsewhere than on glibc only the first is done.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
