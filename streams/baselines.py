"""The baselines topic: what the stages hold of it, and how a baseline gets in."""

import logging
from collections.abc import Callable, Iterable

import msgspec

from schemas.baselines import Baseline, decode, encode
from schemas.scopes import Scope
from streams.compacted import CompactedReader

log = logging.getLogger(__name__)


def topic_key(baseline: Baseline) -> bytes:
    """The key under which compaction keeps every version of every scope's baseline."""
    return f"{msgspec.json.encode(baseline.scope).decode()}/{baseline.id}".encode()


class BaselineFeed:
    """Every baseline there is, and then each one as it comes; none of them is kept.

    Parameters
    ----------
    reader
        Reads the topic from its beginning.
    keep_sample
        Whether a scope's reference sample is kept in memory; only the detectors that are fitted on rows need it.
    """

    def __init__(self, reader: CompactedReader, keep_sample: Callable[[Scope], bool] = lambda _: False) -> None:
        self._reader = reader
        self._keep_sample = keep_sample
        self._seen: set[bytes] = set()

    async def read_all(self) -> list[Baseline]:
        """Read everything that is there, from the beginning."""
        records = dict(await self._reader.read_to_end())
        self._seen.clear()
        return self._take(records.items())

    def poll(self) -> list[Baseline]:
        """What is new since the last call, of either kind."""
        return self._take(self._reader.poll())

    def close(self) -> None:
        """Let go of the brokers."""
        self._reader.close()

    def _take(self, records: Iterable[tuple[bytes, bytes | None]]) -> list[Baseline]:
        fresh = []
        for key, value in records:
            if value is None:
                self._seen.discard(key)
                continue
            try:
                baseline = decode(value)
            except msgspec.ValidationError as error:
                log.warning("a baseline under %r cannot be read and is left out: %s", key[:200], error)
                continue
            if not self._keep_sample(baseline.scope):
                baseline = msgspec.structs.replace(baseline, sample=b"", sample_names=())
            if key not in self._seen:
                fresh.append(baseline)
            self._seen.add(key)
        return fresh


def message(baseline: Baseline) -> tuple[bytes, bytes]:
    """(key, value) for the topic."""
    return topic_key(baseline), encode(baseline)
