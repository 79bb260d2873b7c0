"""XID errors as events. A gauge of the last XID never clears and hides repeats; an event comes once for each."""

import contextlib
import ctypes
import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from streams.gpu_agent.nvml import TIMEOUT, Gpu, Handle, Nvml

log = logging.getLogger(__name__)

MAX_KEPT: Final = 1_000
"""XIDs of one GPU kept between two samples; a GPU that reports more in that time is beyond counting."""
_WAIT_MS: Final = 1_000


class XidWatch:
    """Collects XID events in a thread of its own until they are taken.

    Parameters
    ----------
    api
        Module ``pynvml``, initialised.
    gpus
        Whom to watch. One that does not support events gives None from :meth:`take`, not an empty list.
    """

    def __init__(self, api: Nvml, gpus: Sequence[Gpu]) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._kept: dict[str, deque[int]] = {}
        self._uuids: dict[object, str] = {}
        self._thread: threading.Thread | None = None
        self._set = self._register(gpus)

    def start(self) -> None:
        """Begin to listen; nothing happens where no GPU supports events."""
        if self._kept and self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="xid events", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and give the event set back."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._set is not None:
            with contextlib.suppress(self._api.NVMLError):
                self._api.nvmlEventSetFree(self._set)
            self._set = None

    def take(self, uuid: str) -> list[int] | None:
        """XIDs of a GPU since the last call, oldest first; None where its events are not known."""
        with self._lock:
            kept = self._kept.get(uuid)
            if kept is None:
                return None
            taken = list(kept)
            kept.clear()
            return taken

    def put_back(self, uuid: str, codes: Sequence[int]) -> None:
        """Return what was taken and could not be told."""
        with self._lock:
            if uuid in self._kept:
                self._kept[uuid].extendleft(reversed(codes))

    def poll(self, timeout_ms: int) -> bool:
        """Wait for one event; False when none came."""
        try:
            event = self._api.nvmlEventSetWait_v2(self._set, timeout_ms)
        except self._api.NVMLError as error:
            if error.value != TIMEOUT:
                log.warning("XID events: %s", error)
                self._stopping.wait(_WAIT_MS / 1000)  # a lost GPU makes every wait return at once
            return False
        if event.eventType & self._api.nvmlEventTypeXidCriticalError:
            self._keep(event.device, int(event.eventData))
        return True

    def _register(self, gpus: Sequence[Gpu]) -> object | None:
        kind = self._api.nvmlEventTypeXidCriticalError
        try:
            events: object = self._api.nvmlEventSetCreate()
        except self._api.NVMLError as error:
            log.warning("XID events cannot be had: %s", error)
            return None
        for gpu in gpus:
            try:
                self._api.nvmlDeviceRegisterEvents(gpu.handle, kind, events)
            except self._api.NVMLError as error:
                log.warning("GPU %s gives no XID events: %s", gpu.uuid, error)
                continue
            self._kept[gpu.uuid] = deque(maxlen=MAX_KEPT)
            self._uuids[_address(gpu.handle)] = gpu.uuid
        return events

    def _listen(self) -> None:
        while not self._stopping.is_set():
            self.poll(_WAIT_MS)

    def _keep(self, handle: Handle, code: int) -> None:
        # The GPU is not asked who it is: the error that matters most is the one after which it does not answer.
        uuid = self._uuids.get(_address(handle))
        if uuid is None:
            log.warning("XID %d of a GPU that is not watched", code)
            return
        with self._lock:
            self._kept[uuid].append(code)


def _address(handle: Handle) -> object:
    """What two handles of one GPU have in common: they are pointers, each wrapped anew."""
    try:
        return ctypes.addressof(handle.contents)
    except AttributeError:
        return handle
