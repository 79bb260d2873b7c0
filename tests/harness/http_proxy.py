"""A ClickHouse that fails on demand: an HTTP proxy before a real one, which can answer for it, late, or not at all."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from deploy.local.ports import LOOPBACK
from tests.harness.proxy import reset_socket

_TIMEOUT_S: Final = 60.0
_TOKEN: Final = "insert_deduplication_token"
_HOPS: Final = frozenset({"connection", "keep-alive", "host", "content-length", "transfer-encoding"})

CODES: Final = {"too_many_parts": 252, "read_only": 164, "disk_full": 243, "other": 1, "unreachable": 0}
"""Reason, as Halcyon calls it → ClickHouse's code; 0: an error without one, as what stands before it would answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: "_Server"

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, format: str, *_args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        proxy, is_insert = self.server.proxy, _TOKEN in self.path
        refusal = proxy.next_refusal() if is_insert else None
        if refusal is not None:
            self._refuse(*refusal)
            return
        if is_insert:
            time.sleep(proxy.delay_s)
        try:
            status, headers, answer = self._pass_on(body)
        except OSError:
            self.close_connection = True
            reset_socket(self.connection)
            return
        if is_insert and proxy.next_is_lost():
            self.close_connection = True
            reset_socket(self.connection)
            return
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOPS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, self.server.proxy.server_port, timeout=_TIMEOUT_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOPS}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _refuse(self, status: int, code: int) -> None:
        said = f"Code: {code}. DB::Exception: Not now. (SOME_ERROR)".encode() if code else b"Internal error"
        self.send_response(status)
        if code:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: "ClickHouseProxy") -> None:
        self.proxy = proxy
        super().__init__((LOOPBACK, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that die are what faults are about."""


class ClickHouseProxy:
    """Passes statements on to a ClickHouse of this machine; inserts of Halcyon (those with a token) may fare badly.

    Parameters
    ----------
    server_port
        Where ClickHouse listens.

    Attributes
    ----------
    delay_s
        How long every insert waits before it is passed on.
    counts
        ``refused`` and ``lost`` so far.
    """

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.delay_s = 0.0
        self.counts: Counter[str] = Counter()
        self._refusal: tuple[int, int] | None = None
        self._to_lose = 0
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """For clients."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def refusing(self, code: int, status: int = 500) -> Iterator[None]:
        """Answer every insert with an error of ClickHouse's, or with a bare one for code 0."""
        self._refusal = (status, code)
        try:
            yield
        finally:
            self._refusal = None

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Let every insert take so much longer."""
        self.delay_s = seconds
        try:
            yield
        finally:
            self.delay_s = 0.0

    def lose_answers(self, count: int) -> None:
        """Let the next inserts succeed, and reset the connection instead of saying so."""
        with self._lock:
            self._to_lose = count

    def next_refusal(self) -> tuple[int, int] | None:
        """Status and code that the insert at hand is answered with; None: it is passed on."""
        refusal = self._refusal
        if refusal is not None:
            with self._lock:
                self.counts["refused"] += 1
        return refusal

    def next_is_lost(self) -> bool:
        """Whether the answer at hand is to be lost."""
        with self._lock:
            if self._to_lose <= 0:
                return False
            self._to_lose -= 1
            self.counts["lost"] += 1
            return True
