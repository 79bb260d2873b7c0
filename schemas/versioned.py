"""Msgpack behind a schema version byte: how everything internal travels."""

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Versioned(Generic[T]):
    """Encodes and decodes one kind of message.

    Parameters
    ----------
    kind
        A struct, or a union of tagged ones.
    version
        0…255, the first byte.
    name
        What it is called in errors.

    Examples
    --------
    >>> numbers: Versioned[list[int]] = Versioned(list[int], 1, "list")
    >>> numbers.decode(numbers.encode([1, 2]))
    [1, 2]
    """

    def __init__(self, kind: Any, version: int, name: str) -> None:  # noqa: ANN401 - a type form has no type
        self._version, self._name = version, name
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)

    def encode(self, message: T) -> bytes:
        """The message as bytes."""
        return bytes([self._version]) + self._encoder.encode(message)

    def decode(self, raw: bytes) -> T:
        """The message in ``raw``.

        Raises
        ------
        msgspec.ValidationError
            If the version byte is unknown, or the bytes are another message.
        msgspec.DecodeError
            If they are not msgpack.
        """
        if not raw or raw[0] != self._version:
            found = raw[:1].hex() or "none"
            raise msgspec.ValidationError(f"{self._name} of version {found}, this reader knows {self._version}")
        return self._decoder.decode(memoryview(raw)[1:])
