"""The network that fails on demand does what it is told, and nothing else."""

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from deploy.local.ports import LOOPBACK, free_port, port_accepts
from tests.harness.proxy import Requests, TcpProxy
from tests.harness.waiting import wait_for

BIG = bytes(range(256)) * 8_192


class Echo(socketserver.BaseRequestHandler):
    """Says back what it hears; what was heard is kept, whoever got the answer."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self.request.recv(65_536):
                self.server.heard.append(piece)  # type: ignore[attr-defined]
                self.request.sendall(piece)


@pytest.fixture
def echo() -> Iterator[socketserver.ThreadingTCPServer]:
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Echo) as server:
        server.daemon_threads = True
        server.heard = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: socketserver.ThreadingTCPServer) -> Iterator[TcpProxy]:
    with TcpProxy(echo.server_address[1], new_chooser=lambda: lambda piece: b"lose" in piece) as started:
        yield started


def connect(proxy: TcpProxy, timeout_s: float = 10.0) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout_s)


def heard(client: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (piece := client.recv(65_536)):
        got += piece
    return got


def test_everything_passes_whole_and_in_order(proxy: TcpProxy) -> None:
    with connect(proxy) as client, connect(proxy) as other:
        threading.Thread(target=client.sendall, args=(BIG,)).start()
        assert heard(client, len(BIG)) == BIG
        other.sendall(b"hello")
        assert heard(other, 5) == b"hello"
        assert proxy.connections == 2
    wait_for("closed ends close the others", lambda: proxy.connections, 10, until=lambda n: n == 0)


def test_half_a_goodbye_is_passed_on(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert heard(client, 1_000) == b"last words"


def test_a_cut_resets_what_is_open_and_lets_new_ones_in(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"a")
        assert heard(client, 1) == b"a"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        client.sendall(b"b")
        assert heard(client, 1) == b"b"


def test_refusing_resets_what_is_open_and_listens_no_more(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"a")
        assert heard(client, 1) == b"a"
        with proxy.refused():
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert not port_accepts(proxy.port)
    with connect(proxy) as client:
        client.sendall(b"b")
        assert heard(client, 1) == b"b"


def test_a_stall_keeps_connections_and_what_was_said(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        with proxy.stalled():
            client.sendall(b"held")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(1)
        client.settimeout(10.0)
        assert heard(client, 4) == b"held"


def test_a_delay_counts_both_ways_and_keeps_the_order(proxy: TcpProxy) -> None:
    with connect(proxy) as client, proxy.delayed(0.1):
        began = time.monotonic()
        for letter in b"abcdef":
            client.sendall(bytes([letter]))
        assert heard(client, 6) == b"abcdef"
        # A lower bound cannot fail by load; six in a row wait together, not one after the other.
        assert time.monotonic() - began >= 0.2


def test_a_lost_answer_is_one_whose_request_arrived(proxy: TcpProxy, echo: socketserver.ThreadingTCPServer) -> None:
    proxy.lose_answers(1)
    with connect(proxy) as client:
        client.sendall(b"fine")
        assert heard(client, 4) == b"fine"
        client.sendall(b"lose this")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert b"".join(echo.heard) == b"finelose this"  # type: ignore[attr-defined]
    with connect(proxy) as client:
        client.sendall(b"lose no more")
        assert heard(client, 12) == b"lose no more"
    assert proxy.answers_lost == 1


def test_a_server_that_is_away_is_a_reset() -> None:
    with TcpProxy(free_port()) as proxy:
        # The reset may already be there while the client connects.
        with pytest.raises(ConnectionResetError), connect(proxy) as client:
            client.recv(1)
        assert proxy.refused_count == 1


@pytest.mark.parametrize("size", [1, 3, 7, 64, 10_000])
def test_requests_of_a_kind_are_found_however_they_are_cut(size: int) -> None:
    kinds = [3, 0, 1, 0, 18]
    stream = b"".join(struct.pack(">ih", 2 + len(body), kind) + body for kind in kinds for body in [b"\0" * 50])
    chooser = Requests()
    found = sum(chooser(stream[at : at + size]) for at in range(0, len(stream), size))
    assert found == min(2, -(-len(stream) // size))
