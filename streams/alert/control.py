"""What the ``control`` topic says to the alert stage: silences. Other kinds of control are not its business."""

import hashlib

import msgspec

from streams.alert.state import Matcher, Silence

FOREVER_MS = 253_402_300_799_000
"""The end of the year 9999: for a silence without an end."""


class _Condition(msgspec.Struct, rename="camel"):
    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True


class _Control(msgspec.Struct):
    kind: str
    id: str = ""
    matchers: list[_Condition] | dict[str, str] = []
    starts_ms: int | None = None
    ends_ms: int | None = None


_decoder = msgspec.json.Decoder(_Control)


def silence_of(raw: bytes | None) -> Silence | None:
    """The silence in a control message, or None where it is about something else.

    Matchers are Alertmanager's (``{"name", "value", "isRegex", "isEqual"}``), or an object of labels and their values.
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
    control = _decoder.decode(raw)
    if control.kind != "silence":
        return None
    if isinstance(control.matchers, dict):
        matchers = tuple(Matcher(name, value) for name, value in sorted(control.matchers.items()))
    else:
        matchers = tuple(Matcher(one.name, one.value, one.is_regex, one.is_equal) for one in control.matchers)
    starts_ms = control.starts_ms or 0
    known_by = msgspec.json.encode((matchers, starts_ms))
    name = control.id or hashlib.blake2b(known_by, digest_size=8).hexdigest()
    return Silence(name, matchers, starts_ms, FOREVER_MS if control.ends_ms is None else control.ends_ms)
