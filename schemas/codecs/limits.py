"""How much one message may hold. Whoever sends more is told so; memory stays bounded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is decoded.

    A message over ``max_message_bytes`` or ``max_events_per_message`` goes to the dead letters whole (``too_large``).
    What is too much *within* an event is cut and counted under ``truncated``, always in the same way, because the rest
    of the event is still good: features, segments and codes beyond the first ``max_features``, ``max_segments`` and
    ``max_codes`` (in the event's own order) and those whose name is longer than ``max_text_chars`` are left out; longer
    texts are cut.

    Attributes
    ----------
    max_message_bytes
        Of one message, > 0.
    max_decompressed_bytes
        Of one Arrow message after decompression: what a small message may blow up to.
    max_events_per_message
        Of one Arrow message, > 0.
    max_values_per_message
        Of one Arrow message, all columns, lists and dictionaries together: what short bytes may declare.
    max_features, max_segments, max_codes
        Of one event, > 0; codes are the entries of one list, such as ``xid``.
    max_text_chars
        Of any text that is kept: names, categories, model names, event ids.
    max_future_s
        How far an event's time may be ahead of the broker's append time.
    """

    max_message_bytes: int = 1024 * 1024
    max_decompressed_bytes: int = 64 * 1024 * 1024
    max_events_per_message: int = 65_536
    max_values_per_message: int = 16 * 1024 * 1024
    max_features: int = 1024
    max_segments: int = 16
    max_codes: int = 64
    max_text_chars: int = 256
    max_future_s: int = 300
