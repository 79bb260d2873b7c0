"""What detectors share that keep one bank of columns between windows."""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec
from numpy.typing import NDArray

from detectors.protocol import Ints
from detectors.sparse import SparseColumns
from detectors.state import Columns
from detectors.stateless import Params

Bank = TypeVar("Bank", Columns, SparseColumns)


class Remembering(Generic[Params, Bank]):
    """A detector that knows what it has kept of each series; ``blank`` is the row of one that was never seen."""

    kind: ClassVar[str]
    state_version: ClassVar[int]
    blank: ClassVar[Mapping[str, NDArray[Any]]]
    params_type: type[Params]
    bank_type: type[Bank]

    def __init__(self, params: Params | None = None) -> None:
        self.params = params or self.params_type()
        self.window_s = self.params.window_s
        self._state: Bank = self.bank_type(self.blank)

    def forget(self, series: Ints) -> None:
        """Drop what is kept of ``series``."""
        self._state.forget(series)

    def to_bytes(self) -> bytes:
        """What is kept."""
        return self._state.to_bytes(self.kind, self.state_version)

    @classmethod
    def from_bytes(cls, raw: bytes, params: object) -> Self:
        """See :class:`~detectors.protocol.Detector`; raises StateError for state that is not its own."""
        detector = cls(msgspec.convert(params, cls.params_type))
        detector._state = cls.bank_type.from_bytes(raw, cls.kind, cls.state_version, cls.blank)
        return detector
