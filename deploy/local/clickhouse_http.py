"""ClickHouse's HTTP interface over the engine of this process, as far as clients of one trusted machine need it."""

from __future__ import annotations

import email
import email.policy
import json
import logging
import socket
import ssl
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import cramjam

from deploy.local.clickhouse_access import AUTHENTICATION_FAILED, DeniedError, check
from deploy.local.clickhouse_engine import DEFAULT_DATABASE, Answer, Engine, QueryError, Request
from deploy.local.clickhouse_sql import DEFAULT_FORMAT

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 1 << 30
_COMPRESS_MIN_BYTES = 1024
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_PARAMETER_PREFIX = "param_"
# What a request says about itself and its transport; everything else in the query string is a setting.
_NOT_SETTINGS = frozenset(
    {
        "query", "database", "user", "password", "default_format", "query_id", "quota_key", "role", "stacktrace",
        "session_id", "session_timeout", "session_check", "close_session", "client_protocol_version",
        "compress", "decompress", "enable_http_compression", "buffer_size", "wait_end_of_query",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close",
    }
)  # fmt: skip
# In the order in which we prefer them; HTTP's `deflate` is zlib's format.
_CODECS = {"lz4": cramjam.lz4, "zstd": cramjam.zstd, "gzip": cramjam.gzip, "deflate": cramjam.zlib}
_CODE_STATUS = {
    48: HTTPStatus.NOT_IMPLEMENTED,
    **dict.fromkeys((46, 47, 50, 56, 60, 81, 115), HTTPStatus.NOT_FOUND),
    **dict.fromkeys((6, 16, 20, 26, 27, 33, 36, 38, 41, 53, 62, 72, 73, 117, 456, 457), HTTPStatus.BAD_REQUEST),
    164: HTTPStatus.FORBIDDEN,
    AUTHENTICATION_FAILED: HTTPStatus.FORBIDDEN,
    1002: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_NOT_IMPLEMENTED = 48


class BadRequestError(Exception):
    """A request that cannot be read to its end; the connection is closed after the answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and body of an answer."""

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes


class ClickHouseServer(ThreadingHTTPServer):
    """Serves one engine, a thread per connection.

    Parameters
    ----------
    address, engine
        Where, and what.
    tls
        Speak TLS; None for plain HTTP.
    users
        User → password; None lets everybody in.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        engine: Engine,
        tls: ssl.SSLContext | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.engine, self.users = engine, users
        super().__init__(address, Handler)
        if tls is not None:
            # The handshake happens at the first read, in the connection's own thread: a slow client holds nobody up.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as its base has it
        """Log one line for a client that went away or could not agree on TLS."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            log.info("a connection from %s has ended: %s", client_address, error)
        else:
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    # Headers and body leave in one write: two would cost the client's delayed acknowledgement, some 40 ms.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: ClickHouseServer
    request: socket.socket
    _hello: ClassVar[frozenset[str]] = frozenset({"/ping", "/replicas_status"})

    def do_GET(self) -> None:
        """Answer a health check, or a query that changes nothing."""
        self._respond(read_only=True)

    def do_HEAD(self) -> None:
        """Answer a health check without its body."""
        self._respond(read_only=True)

    def do_POST(self) -> None:
        """Answer any statement."""
        self._respond(read_only=False)

    def log_message(self, format: str, *_args: object) -> None:  # noqa: A002 - the base class's name
        """Leave requests out of the log; errors of the server itself are logged where they are caught."""

    def _respond(self, *, read_only: bool) -> None:
        try:
            reply = self._reply(read_only=read_only)
        except BadRequestError as error:
            self.close_connection = True
            reply = Reply(error.status, {}, f"{error}\n".encode())
        except OSError as error:
            log.info("a client went away: %s", error)
            self.close_connection = True
            return
        except Exception:
            log.exception("request failed: %s", self.requestline)
            self.close_connection = True
            reply = Reply(HTTPStatus.INTERNAL_SERVER_ERROR, {}, b"internal error: see the server's log\n")
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def handle_expect_100(self) -> bool:
        """Tell a client that waits with its body to send it, past the buffer."""
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def _reply(self, *, read_only: bool) -> Reply:
        self._refuse_browsers()
        target = urlsplit(self.path)
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        body = self._decoded(self._read_body())
        if target.path in self._hello or (target.path == "/" and not query and not body):
            return Reply(HTTPStatus.OK, {"Content-Type": "text/plain; charset=UTF-8"}, b"Ok.\n")
        if target.path != "/":
            return Reply(HTTPStatus.NOT_FOUND, {}, f"There is no handle {target.path}\n".encode())
        query_id = query.get("query_id") or str(uuid.uuid4())
        try:
            self._let_in(query)
            request = self._request(query, body, read_only=read_only)
            begin_ns = time.perf_counter_ns()
            answer = self.server.engine.execute(request)
            return self._answered(answer, query, query_id, time.perf_counter_ns() - begin_ns)
        except QueryError as error:
            status = _CODE_STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            headers = self._headers(query_id) | {"X-ClickHouse-Exception-Code": str(error.code)}
            return Reply(status, headers | {"Content-Type": "text/plain; charset=UTF-8"}, f"{error}\n".encode())

    def _let_in(self, query: dict[str, str]) -> None:
        if self.server.users is None:
            return
        certificate = self.request.getpeercert() if isinstance(self.request, ssl.SSLSocket) else None
        try:
            check(self.server.users, self.headers, query, certificate)
        except DeniedError as error:
            raise QueryError(AUTHENTICATION_FAILED, str(error)) from error

    def _refuse_browsers(self) -> None:
        # A web page may send requests to 127.0.0.1 from its visitor's browser, and SQL can write files.
        host = urlsplit(f"//{self.headers.get('Host', 'localhost')}").hostname
        if self.headers.get("Origin") is not None or host not in _LOCAL_NAMES:
            raise BadRequestError(HTTPStatus.FORBIDDEN, "this endpoint answers programs on this machine, not web pages")

    def _request(self, query: dict[str, str], body: bytes, *, read_only: bool) -> Request:
        if query.get("compress") == "1" or query.get("decompress") == "1":
            raise _refused(_NOT_IMPLEMENTED, "compress and decompress (ClickHouse's own framing): use HTTP compression")
        if self.headers.get_content_type() == "multipart/form-data":
            query, body = self._form(query, body)
        settings = {
            name: value
            for name, value in query.items()
            if name not in _NOT_SETTINGS and not name.startswith(_PARAMETER_PREFIX)
        }
        if read_only:
            settings.setdefault("readonly", "2")
        head = query.get("query", "").encode()
        return Request(
            text=head + b"\n" + body if head and body else head or body,
            database=query.get("database") or self.headers.get("X-ClickHouse-Database") or DEFAULT_DATABASE,
            default_format=query.get("default_format") or self.headers.get("X-ClickHouse-Format") or DEFAULT_FORMAT,
            settings=settings,
            parameters={
                name.removeprefix(_PARAMETER_PREFIX): value
                for name, value in query.items()
                if name.startswith(_PARAMETER_PREFIX)
            },
        )

    def _form(self, query: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        fields: dict[str, str] = {}
        for part in form.iter_parts():
            name = part.get_param("name", header="Content-Disposition")
            if part.get_filename() is not None or not isinstance(name, str):
                raise _refused(_NOT_IMPLEMENTED, "external tables: create a table and insert into it")
            content = part.get_payload(decode=True)
            fields[name] = content.decode() if isinstance(content, bytes) else ""
        return query | fields, b""

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._read_chunks()
        length = _number(self.headers.get("Content-Length") or "0", 10)
        if length > BODY_MAX_BYTES:
            raise _too_large()
        return self._read_exactly(length)

    def _read_chunks(self) -> bytes:
        chunks: list[bytes] = []
        total = 0
        while size := _number(self.rfile.readline(1024).split(b";")[0].decode("latin-1"), 16):
            total += size
            if total > BODY_MAX_BYTES:
                raise _too_large()
            chunks.append(self._read_exactly(size))
            self.rfile.readline(8)
        while self.rfile.readline(65_536).strip():
            pass
        return b"".join(chunks)

    def _read_exactly(self, size: int) -> bytes:
        content = self.rfile.read(size)
        if len(content) < size:
            raise ConnectionAbortedError(f"the client closed after {len(content)} of {size} bytes")
        return content

    def _decoded(self, body: bytes) -> bytes:
        encoding = self.headers.get("Content-Encoding", "identity").lower()
        if encoding == "identity" or not body:
            return body
        codec = _CODECS.get(encoding)
        if codec is None:
            raise BadRequestError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {encoding}: send one of {', '.join(_CODECS)}"
            )
        try:
            return bytes(codec.decompress(body))
        except cramjam.DecompressionError as error:
            raise BadRequestError(HTTPStatus.BAD_REQUEST, f"the body is not {encoding}: {error}") from error

    def _headers(self, query_id: str) -> dict[str, str]:
        engine = self.server.engine
        return {
            "X-ClickHouse-Server-Display-Name": "halcyon-local",
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": engine.timezone,
        }

    def _answered(self, answer: Answer, query: dict[str, str], query_id: str, elapsed_ns: int) -> Reply:
        headers = self._headers(query_id)
        counts = ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows")
        summary = {name: str(getattr(answer, name)) for name in counts}
        summary |= {"result_bytes": str(len(answer.body)), "elapsed_ns": str(elapsed_ns)}
        headers["X-ClickHouse-Summary"] = json.dumps(summary, separators=(",", ":"))
        if answer.format is not None:
            headers["X-ClickHouse-Format"] = answer.format
            headers["Content-Type"] = _content_type(answer.format)
        body = answer.body
        encoding = self._accepted_encoding() if query.get("enable_http_compression") == "1" else None
        if encoding is not None and len(body) >= _COMPRESS_MIN_BYTES:
            headers["Content-Encoding"] = encoding
            body = bytes(_CODECS[encoding].compress(body))
        return Reply(HTTPStatus.OK, headers, body)

    def _accepted_encoding(self) -> str | None:
        offered = self.headers.get("Accept-Encoding", "")
        names = {part.split(";")[0].strip().lower() for part in offered.split(",")}
        return next((name for name in _CODECS if name in names), None)


def _content_type(format_name: str) -> str:
    if format_name.startswith("JSON"):
        return "application/json; charset=UTF-8"
    if format_name.startswith(("TabSeparated", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    if format_name.startswith("CSV"):
        return "text/csv; charset=UTF-8"
    if format_name.startswith(("Pretty", "Vertical", "Values", "Markdown")):
        return "text/plain; charset=UTF-8"
    return "application/octet-stream"


def _number(text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError as error:
        raise BadRequestError(HTTPStatus.BAD_REQUEST, f"{text!r} is no length of a body or chunk") from error


def _refused(code: int, what: str) -> QueryError:
    return QueryError(code, f"Code: {code}. DB::Exception: The local endpoint does not take {what}.")


def _too_large() -> BadRequestError:
    return BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {BODY_MAX_BYTES} bytes: send parts")
