"""What detectors share that keep nothing between windows."""

from typing import ClassVar, Generic, Protocol, Self, TypeVar

import msgspec

from detectors import state
from detectors.protocol import Ints


class Windowed(Protocol):
    """Parameters that name the length of the windows, in seconds."""

    @property
    def window_s(self) -> int:
        """Length of the windows, s."""
        ...


Params = TypeVar("Params", bound=Windowed)


class Stateless(Generic[Params]):
    """A detector to which every window is the first; ``params_type`` is the type of its parameters."""

    kind: ClassVar[str]
    state_version: ClassVar[int]
    params_type: type[Params]

    def __init__(self, params: Params | None = None) -> None:
        self.params = params or self.params_type()
        self.window_s = self.params.window_s

    def forget(self, series: Ints) -> None:
        """Nothing is kept of a series."""

    def to_bytes(self) -> bytes:
        """No state but its version."""
        return state.pack(self.kind, self.state_version, {})

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        state.unpack(raw, cls.kind, cls.state_version)
        return cls(msgspec.convert(params, cls.params_type))
