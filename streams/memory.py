"""How a worker's process uses memory: set once, before the first stage starts."""

import ctypes
import gc
import sys
from collections.abc import Callable
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
    if mallopt := _glibc("mallopt"):
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def collect() -> None:
    """Look for cycles now.

    For after a failure that is waited out: tracebacks are cycles, and hold what was at work when it happened. As
    cycles are looked for so rarely, failures in a row would pile that up.
    """
    gc.collect()


def give_back() -> None:
    """Give what is free between blocks in use back to the system: after a window of an hour, that is a lot.

    Takes milliseconds. Elsewhere than on glibc nothing is done.
    """
    if trim := _glibc("malloc_trim"):
        trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
