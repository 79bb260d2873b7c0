"""What was refused before anybody looked into it: a batch of messages that could not be taken apart."""

from typing import Self

from schemas.columns import Reason


class Refused(bytes):
    """The bytes of a whole compressed batch, in the place of the messages in it.

    Attributes
    ----------
    reason, words
        Why it was not taken apart.
    events
        How many messages it says it holds.

    Examples
    --------
    >>> Refused.of(b"...", Reason.TOO_LARGE, "too much", 7).events
    7
    """

    reason: Reason
    words: str
    events: int

    @classmethod
    def of(cls, raw: bytes | memoryview, reason: Reason, words: str, events: int) -> Self:
        """The bytes with what is to be said of them."""
        refused = cls(raw)
        refused.reason, refused.words, refused.events = reason, words, events
        return refused
