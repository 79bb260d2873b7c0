"""Messages made ahead of when they are due, so that making them never holds up sending them."""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")

_TURN_S = 0.2


@dataclass(frozen=True, slots=True)
class _End:
    error: Exception | None = None


@dataclass(slots=True)
class Ahead(Generic[Item]):
    """The same items, made by a thread of their own, up to ``count`` before they are asked for.

    What ends the making is raised where the items are taken. The thread ends with the iteration, however that ends.
    """

    items: Iterable[Item]
    count: int
    _made: "queue.Queue[Item | _End]" = field(init=False)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._made = queue.Queue(maxsize=self.count)

    def __iter__(self) -> Iterator[Item]:
        thread = threading.Thread(target=self._make, name="loadgen-ahead", daemon=True)
        thread.start()
        try:
            while not isinstance(item := self._made.get(), _End):
                yield item
        finally:
            self._stopped.set()
            thread.join()
        if item.error is not None:
            raise item.error

    def _make(self) -> None:
        try:
            for item in self.items:
                if not self._put(item):
                    return
        except Exception as error:  # noqa: BLE001 - raised where the items are taken
            self._put(_End(error))
        else:
            self._put(_End())

    def _put(self, item: "Item | _End") -> bool:
        """Whether the item found a place before nobody wanted it any more."""
        while not self._stopped.is_set():
            try:
                self._made.put(item, timeout=_TURN_S)
            except queue.Full:
                continue
            return True
        return False
