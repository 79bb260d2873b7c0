"""Snapshots of a stage's state in the compacted topic ``state``: all of it, or what was there before.

A snapshot is written as chunks into the slot that is not in use, and becomes the one to load by a single last message,
the marker. Whoever dies half-way leaves the former snapshot whole.
"""

import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from streams.compacted import CompactedReader
from streams.errors import HalcyonError

CHUNK_BYTES: Final = 900_000
"""Below what a broker takes by default (1 MiB), headers included."""
_CHUNKS_IN_FLIGHT: Final = 8


class StateStore(Protocol):
    """Where a stage keeps its state between two lives."""

    async def load(self, key: str) -> bytes | None:
        """The last snapshot that was saved whole; None when there is none."""
        ...

    async def save(self, key: str, raw: bytes) -> None:
        """Save a snapshot. When this returns, :meth:`load` gives it in every later life."""
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
        self._generation: dict[str, int] = {}

    async def load(self, key: str) -> bytes | None:
        """The last snapshot of ``key`` that was saved whole; None when there is none.

        Raises
        ------
        HalcyonError
            If the marker is there and chunks are missing or damaged: the state must not be guessed.
        """
        reader = self._new_reader(await self._partition(key))
        try:
            records = await reader.read_to_end()
        finally:
            reader.close()
        own = key.encode()
        found: Mapping[bytes, bytes | None] = {k: v for k, v in records if k == own or k.startswith(own + b"/")}
        raw = found.get(own)
        if raw is None:
            self._generation[key] = 0
            return None
        marker = msgspec.msgpack.decode(raw, type=Marker)
        self._generation[key] = marker.generation
        chunks = [found.get(_chunk_key(key, marker.slot, i)) or b"" for i in range(marker.chunks)]
        whole = b"".join(chunks)
        if len(whole) != marker.size or zlib.crc32(whole) != marker.crc:
            raise HalcyonError(
                f"The snapshot {key} is damaged: {len(whole)} of {marker.size} bytes, or other bytes than were saved.",
                f"topic {self._topic}",
                "Stop whatever else writes to it. To begin without the state, write an empty message under this key.",
            )
        return whole

    async def save(self, key: str, raw: bytes) -> None:
        """Save a snapshot: chunks into the free slot, then the marker."""
        generation = self._generation.get(key, 0) + 1
        slot = generation % 2
        partition = await self._partition(key)
        whole, chunks = memoryview(raw), -(-len(raw) // CHUNK_BYTES)
        for place in range(chunks):
            piece = bytes(whole[place * CHUNK_BYTES : (place + 1) * CHUNK_BYTES])
            self._producer.send(self._topic, piece, key=_chunk_key(key, slot, place), partition=partition)
            if place % _CHUNKS_IN_FLIGHT == _CHUNKS_IN_FLIGHT - 1:
                await self._producer.barrier()  # a large state must not stand in memory twice
        await self._producer.barrier()
        marker = Marker(generation, slot, chunks, len(raw), zlib.crc32(raw))
        self._producer.send(self._topic, msgspec.msgpack.encode(marker), key=key.encode(), partition=partition)
        await self._producer.barrier()
        self._generation[key] = generation

    async def _partition(self, key: str) -> int:
        if not self._partitions:
            self._partitions = await self._count_partitions()
        return zlib.crc32(key.encode()) % self._partitions


def _chunk_key(key: str, slot: int, place: int) -> bytes:
    return f"{key}/{slot}/{place}".encode()
