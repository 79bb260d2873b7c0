"""A network that fails on demand: a TCP proxy between a client and one server, and what it may do to them."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from deploy.local.ports import LOOPBACK, free_port

_CHUNK: Final = 1 << 16
_START_S: Final = 10.0
_PRODUCE: Final = 0
_KIND_BYTES: Final = 6

Chooses = Callable[[bytes], bool]
"""Told each piece that a connection's client sends; whether it is one whose answer is to be lost."""


class Requests:
    """Finds the requests of one kind in what a Kafka client sends, however it is cut into pieces.

    A request is its length (4 bytes), then its kind (2 bytes), then the rest.

    Parameters
    ----------
    naming
        Only those that carry these bytes where they begin, such as a topic's name.
    kind
        Kafka's number of the kind; by default to produce.
    """

    def __init__(self, naming: bytes = b"", kind: int = _PRODUCE) -> None:
        self._naming, self._kind = naming, kind
        self._skip = 0
        self._head = b""

    def __call__(self, piece: bytes) -> bool:
        """Whether a request of the kind begins in this piece."""
        found, at = False, 0
        while at < len(piece):
            if self._skip:
                step = min(self._skip, len(piece) - at)
                self._skip -= step
                at += step
                continue
            more = piece[at : at + _KIND_BYTES - len(self._head)]
            self._head += more
            at += len(more)
            if len(self._head) == _KIND_BYTES:
                length, kind = struct.unpack(">ih", self._head)
                found |= kind == self._kind
                self._skip, self._head = length - 2, b""
        return found and self._naming in piece


def reset_socket(connection: socket.socket) -> None:
    """Let the connection end with RST instead of FIN, when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, at once."""
    if not writer.transport.is_closing():
        reset_socket(writer.get_extra_info("socket"))
    writer.transport.abort()


@dataclass(eq=False)
class _Link:
    """One connection, seen from both ends."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    chooses: Chooses
    lost: bool = False
    """Whether what the server says is thrown away from here on."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def cut(self) -> None:
        """Reset both ends: no goodbye, and nothing that waits is sent."""
        for task in self.tasks:
            task.cancel()
        for writer in (self.client, self.server):
            reset(writer)


@dataclass
class _Rules:
    """What is done to everything; changed and read in the proxy's thread alone."""

    refusing: bool = False
    delay_s: float = 0.0
    passing: asyncio.Event = field(default_factory=asyncio.Event)
    answers_to_lose: int = 0
    hold_s: float = 0.0


class TcpProxy:
    """Passes connections on to a server of this machine, unless told otherwise.

    Parameters
    ----------
    server_port
        Where the server listens.
    port
        Where to listen; by default a free port.
    new_chooser
        Made for every connection: which requests :meth:`lose_answers` is about. By default Kafka's produce requests.

    Notes
    -----
    One asyncio loop in a thread. The methods may be called from any other thread; they return when it is so.
    """

    def __init__(
        self, server_port: int, port: int | None = None, new_chooser: Callable[[], Chooses] = Requests
    ) -> None:
        self.port = free_port() if port is None else port
        self.accepted = 0
        self.refused_count = 0
        self.answers_lost = 0
        self._server_port = server_port
        self._new_chooser = new_chooser
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._rules = _Rules()
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)

    @property
    def address(self) -> str:
        """Where clients connect, ``host:port``."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    def __enter__(self) -> Self:
        self._thread.start()
        self._rules.passing.set()
        self._do(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()

    # -- faults ------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
        self._do(self._cut)

    @contextlib.contextmanager
    def refused(self) -> Iterator[None]:
        """Every connection is reset, and nobody listens, for as long as the block lasts."""
        self._do(self._refuse)
        try:
            yield
        finally:
            self._do(self._listen)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Connections stay, also new ones, and not a byte passes on them."""
        self._do(self._stall)
        try:
            yield
        finally:
            self._do(self._flow)

    @contextlib.contextmanager
    def delayed(self, seconds: float) -> Iterator[None]:
        """Every piece arrives so much later, each way."""
        self._do(lambda: self._delay(seconds))
        try:
            yield
        finally:
            self._do(lambda: self._delay(0.0))

    def lose_answers(self, count: int, hold_s: float = 0.2) -> None:
        """Let the next chosen requests through; their connections hear nothing more, and are reset a little later.

        Parameters
        ----------
        count
            How many requests, each of a connection of its own.
        hold_s
            How long the client waits in vain.
        """
        self._do(lambda: self._lose(count, hold_s))

    # -- in the proxy's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, what: Callable[[], object]) -> None:
        async def run() -> None:
            answer = what()
            if asyncio.iscoroutine(answer):
                await answer

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(_START_S)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, LOOPBACK, self.port, reuse_address=True)

    async def _close(self) -> None:
        await self._refuse()
        ending = [task for link in self._links for task in link.tasks]
        await asyncio.gather(*ending, return_exceptions=True)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._listener = None
        self._cut()

    def _cut(self) -> None:
        for link in list(self._links):
            link.cut()

    def _stall(self) -> None:
        self._rules.passing.clear()

    def _flow(self) -> None:
        self._rules.passing.set()

    def _delay(self, seconds: float) -> None:
        self._rules.delay_s = seconds

    def _lose(self, count: int, hold_s: float) -> None:
        self._rules.answers_to_lose, self._rules.hold_s = count, hold_s

    async def _serve(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            from_server, server = await asyncio.open_connection(LOOPBACK, self._server_port)
        except OSError:
            self.refused_count += 1
            reset(client)
            return
        for writer in (client, server):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server, self._new_chooser())
        link.tasks = [
            asyncio.ensure_future(self._pump(from_client, server, lambda piece: self._requested(link, piece))),
            asyncio.ensure_future(self._pump(from_server, client, lambda _: not link.lost)),
        ]
        self._links.add(link)
        try:
            await asyncio.wait(link.tasks)
        finally:
            link.cut()
            self._links.discard(link)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passes: Callable[[bytes], bool]
    ) -> None:
        """Pass pieces on in order; each may be late, and then those behind it are on their way already."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.ensure_future(self._send(waiting, sink, passes))
        try:
            while piece := await source.read(_CHUNK):
                waiting.put_nowait((self._loop.time() + self._rules.delay_s, piece))
            waiting.put_nowait((0.0, b""))
            await sending
        except OSError:
            pass
        finally:
            sending.cancel()

    async def _send(
        self, waiting: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter, passes: Callable[[bytes], bool]
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due_s, piece = await waiting.get()
                await asyncio.sleep(max(0.0, due_s - self._loop.time()))
                await self._rules.passing.wait()
                if not piece:
                    sink.write_eof()
                    return
                if passes(piece):
                    sink.write(piece)
                    await sink.drain()

    def _requested(self, link: _Link, piece: bytes) -> bool:
        if link.chooses(piece) and self._rules.answers_to_lose > 0 and not link.lost:
            self._rules.answers_to_lose -= 1
            self.answers_lost += 1
            link.lost = True
            self._loop.call_later(self._rules.hold_s, link.cut)
        return True
