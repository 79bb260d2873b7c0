"""Batches of records as brokers store them, good and hand-made, and a way to store them that asks no questions."""

import struct
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TIME_MS: Final = 1_767_225_600_000
CODEC_AT, LAST_AT, COUNT_AT, HEAD = 22, 23, 57, 61

Headers = list[tuple[str, bytes | None]]


def batch(codec: str, *values: bytes, headers: Headers | None = None, base: int = 0) -> bytes:
    """A batch of these values, a millisecond apart."""
    builder = DefaultRecordBatchBuilder(2, CODECS[codec], 0, -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        assert builder.append(number, TIME_MS + number, b"key", value, headers or [])
    made = bytearray(builder.build())
    struct.pack_into(">q", made, 0, base)
    return bytes(made)


def hand_made(codec: int, body: bytes, count: int = 1) -> bytes:
    """A batch with this compressed part, whatever it is."""
    head = bytearray(batch("none", b"")[:HEAD])
    struct.pack_into(">i", head, 8, HEAD - 12 + len(body))
    struct.pack_into(">i", head, LAST_AT, count - 1)
    struct.pack_into(">i", head, COUNT_AT, count)
    head[CODEC_AT] |= codec
    return with_crc(bytes(head) + body)


def with_crc(raw: bytes) -> bytes:
    """The batch with the checksum that it should have."""
    made = bytearray(raw)
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(raw[21:])))
    return bytes(made)


async def store(bootstrap: str, topic: str, partition: int, raw: bytes) -> int:
    """Have the broker append a batch as it is; the offset it got. No client would send some of them."""
    client: Any = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        await client.set_topics([topic])
        leader = client.cluster.available_partitions_for_topic(topic) and client.cluster._partitions[topic][partition]
        request = ProduceRequest(
            transactional_id=None, required_acks=-1, timeout=30_000, topics=[(topic, [(partition, raw)])]
        )
        response = await client.send(leader.leader, request)
    finally:
        await client.close()
    ((_, ((_, error, offset, *_),)),) = response.topics
    assert error == 0, f"the broker refused it: error {error}"
    return int(offset)
