"""Snapshots of a stage's state in the compacted topic ``state``: all of it, or what was there before.

A snapshot is written as chunks into the slot that is not in use, and becomes the one to load by a single last message,
the marker. Whoever dies half-way leaves the former snapshot whole.

Whoever loads a state claims it first: the offset of that claim is the *term* under which it saves, part of every key.
The snapshot of the latest term is the one that counts. A worker that slept while its partition went to another one
still has an older term when it wakes: what it saves then touches no key of the other's, and nobody reads it.
"""

import uuid
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from streams.compacted import CompactedReader, Record
from streams.errors import HalcyonError

CHUNK_BYTES: Final = 900_000
"""Below what a broker takes by default (1 MiB), headers included."""
_CHUNKS_IN_FLIGHT: Final = 8
_TERM_DIGITS: Final = 19
"""An offset's, so that keys sort as terms do."""


class StateStore(Protocol):
    """Where a stage keeps its state between two lives."""

    async def load(self, key: str) -> bytes | None:
        """Take the state over: the last snapshot that was saved whole, None when there is none.

        What whoever held it before saves from here on does not count.
        """
        ...

    async def save(self, key: str, raw: bytes) -> None:
        """Save a snapshot of a state that was loaded. When this returns, :meth:`load` gives it in every later life."""
        ...


class Sender(Protocol):
    """What the store needs of a producer."""

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        partition: int | None = None,
    ) -> None:
        """Send without waiting."""
        ...

    async def barrier(self) -> None:
        """Wait until everything sent is acknowledged."""
        ...


class Marker(msgspec.Struct, frozen=True, array_like=True):
    """Which slot holds the snapshot, and what tells that it is whole."""

    generation: int
    slot: int
    chunks: int
    size: int
    crc: int


NewReader = Callable[[int], CompactedReader]
"""Makes a reader of one partition of the state topic."""


class KafkaStateStore:
    """The store on a compacted topic.

    Parameters
    ----------
    topic, partitions
        The topic, and how to learn how many partitions it has.
    producer
        Sends the chunks.
    new_reader
        Makes the reader for :meth:`load`.
    """

    def __init__(
        self, topic: str, partitions: Callable[[], Awaitable[int]], producer: Sender, new_reader: NewReader
    ) -> None:
        self._topic = topic
        self._count_partitions = partitions
        self._partitions = 0
        self._producer = producer
        self._new_reader = new_reader
        self._claims: dict[str, _Claim] = {}

    async def load(self, key: str) -> bytes | None:
        """The last snapshot of ``key`` that was saved whole under the latest term; None when there is none.

        Raises
        ------
        HalcyonError
            If the marker is there and chunks are missing or damaged: the state must not be guessed.
        """
        partition = await self._partition(key)
        token = uuid.uuid4().bytes
        self._producer.send(self._topic, token, key=_claim_key(key), partition=partition)
        await self._producer.barrier()
        reader = self._new_reader(partition)
        try:
            records = await reader.read_log()
        finally:
            reader.close()
        term = next((r.offset for r in records if r.key == _claim_key(key) and r.value == token), None)
        if term is None:
            raise HalcyonError(
                f"The state {key} was claimed by another worker in the same moment.", f"topic {self._topic}",
                "This worker starts again by itself. Where it goes on, two workers read the same partition.",
            )  # fmt: skip
        self._claims[key] = _Claim(term, stale=tuple(_kept(key, records)))
        return newest(key, records, self._topic)

    async def save(self, key: str, raw: bytes) -> None:
        """Save a snapshot: chunks into the free slot, then the marker; then forget what former terms have left.

        Raises
        ------
        KeyError
            If ``key`` was never loaded: there is no term to save it under.
        """
        claim = self._claims[key]
        generation = claim.generation + 1
        slot = generation % 2
        partition = await self._partition(key)
        whole, chunks = memoryview(raw), -(-len(raw) // CHUNK_BYTES)
        for place in range(chunks):
            piece = bytes(whole[place * CHUNK_BYTES : (place + 1) * CHUNK_BYTES])
            self._producer.send(self._topic, piece, key=_chunk_key(key, claim.term, slot, place), partition=partition)
            if place % _CHUNKS_IN_FLIGHT == _CHUNKS_IN_FLIGHT - 1:
                await self._producer.barrier()  # a large state must not stand in memory twice
        await self._producer.barrier()
        marker = Marker(generation, slot, chunks, len(raw), zlib.crc32(raw))
        own = _marker_key(key, claim.term)
        self._producer.send(self._topic, msgspec.msgpack.encode(marker), key=own, partition=partition)
        await self._producer.barrier()
        claim.generation = generation
        for stale in claim.stale:
            self._producer.send(self._topic, None, key=stale, partition=partition)
        claim.stale = ()

    async def _partition(self, key: str) -> int:
        if not self._partitions:
            self._partitions = await self._count_partitions()
        return zlib.crc32(key.encode()) % self._partitions


def newest(key: str, records: Iterable[Record], topic: str = "state") -> bytes | None:
    """The snapshot of ``key`` that counts, out of the records of its partition; None when there is none.

    Raises
    ------
    HalcyonError
        As :meth:`KafkaStateStore.load`.
    """
    found = {record.key: record.value for record in records}
    start = _marker_key(key, 0)[:-_TERM_DIGITS]
    markers = sorted(k for k, value in found.items() if value is not None and _is_marker(k, start))
    if not markers:
        return None
    own = markers[-1]
    marker = msgspec.msgpack.decode(found[own] or b"", type=Marker)
    term = int(own[-_TERM_DIGITS:])
    whole = b"".join(found.get(_chunk_key(key, term, marker.slot, place)) or b"" for place in range(marker.chunks))
    if len(whole) != marker.size or zlib.crc32(whole) != marker.crc:
        raise HalcyonError(
            f"The snapshot {key} is damaged: {len(whole)} of {marker.size} bytes, or other bytes than were saved.",
            f"topic {topic}",
            f"Stop whatever else writes to it. To begin without it, write an empty message under {own.decode()}.",
        )
    return whole


@dataclass(slots=True)
class _Claim:
    """Under which term a key is saved, how often it was, and the keys of former terms that are still there."""

    term: int
    stale: tuple[bytes, ...] = field(default=())
    generation: int = 0


def _kept(key: str, records: Iterable[Record]) -> list[bytes]:
    """The keys of all snapshots that are there."""
    found = {record.key: record.value for record in records if record.key.startswith(f"{key}/".encode())}
    return [name for name, value in found.items() if value is not None and name != _claim_key(key)]


def _is_marker(name: bytes, start: bytes) -> bool:
    return name.startswith(start) and len(name) == len(start) + _TERM_DIGITS and name[len(start) :].isdigit()


def _claim_key(key: str) -> bytes:
    return f"{key}/claim".encode()


def _marker_key(key: str, term: int) -> bytes:
    return f"{key}/{term:0{_TERM_DIGITS}d}".encode()


def _chunk_key(key: str, term: int, slot: int, place: int) -> bytes:
    return _marker_key(key, term) + f"/{slot}/{place}".encode()
