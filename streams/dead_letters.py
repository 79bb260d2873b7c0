"""Dead letters: a message that cannot be used keeps its bytes; headers say where it was and what is wrong with it."""

from typing import Final

from streams.stage import ConsumerRecord

_MESSAGE_CHARS: Final = 2_000

Headers = list[tuple[str, bytes]]


def headers(record: ConsumerRecord[bytes, bytes], reason: str, message: str, events: int = 1) -> Headers:
    """The headers of a dead letter; those of the message itself follow them unchanged.

    Parameters
    ----------
    record
        The message, as it was read.
    reason
        A bounded class: a value of :class:`schemas.columns.Reason`.
    message
        What is wrong, in the decoder's words.
    events
        How many events of the message are lost: an Arrow message may be good in part.
    """
    told = {
        "halcyon_topic": record.topic,
        "halcyon_partition": str(record.partition),
        "halcyon_offset": str(record.offset),
        "halcyon_timestamp_ms": str(record.timestamp),
        "halcyon_reason": reason,
        "halcyon_message": message[:_MESSAGE_CHARS],
        "halcyon_events": str(events),
    }
    return [*((name, value.encode("utf-8", "replace")) for name, value in told.items()), *record.headers]
