"""What the ``control`` topic says to the alert stage: silences. Other kinds of control are not its business."""

import hashlib
from typing import Final

import msgspec

from schemas import control
from schemas.control import ControlKind
from streams.alert.state import Matcher, Silence

FOREVER_MS: Final = 253_402_300_799_000
"""The end of the year 9999: for a silence without an end."""


def silence_of(raw: bytes | None) -> Silence | None:
    """The silence in a control message, or None where it is about something else.

    A silence without an ``id`` is known by its matchers and its begin: sent again with another ``ends_ms`` it replaces
    itself.

    Raises
    ------
    msgspec.DecodeError
        If the message is no JSON, or fields are missing or of a wrong type.

    Examples
    --------
    >>> found = silence_of(b'{"kind": "silence", "matchers": {"model": "fraud"}, "starts_ms": 5, "ends_ms": 9}')
    >>> found.matchers
    (Matcher(name='model', value='fraud', is_regex=False, is_equal=True),)
    """
    if raw is None:
        return None
    message = control.decode(raw)
    if message.kind is not ControlKind.SILENCE:
        return None
    if isinstance(message.matchers, dict):
        matchers = tuple(Matcher(name, value) for name, value in sorted(message.matchers.items()))
    else:
        matchers = tuple(Matcher(one.name, one.value, one.is_regex, one.is_equal) for one in message.matchers)
    starts_ms = message.starts_ms or 0
    known_by = msgspec.json.encode((matchers, starts_ms))
    name = message.id or hashlib.blake2b(known_by, digest_size=8).hexdigest()
    return Silence(name, matchers, starts_ms, FOREVER_MS if message.ends_ms is None else message.ends_ms)
