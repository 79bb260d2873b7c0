"""The local endpoint speaks ClickHouse's HTTP: formats, codes, compression, chunks; and refuses what it should."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cramjam
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.clickhouse_sql import Insert, result_format, split_insert
from deploy.local.ports import port_is_free

pytestmark = pytest.mark.integration

WAIT_S = 60.0
COMPRESSIONS = ["lz4", "zstd", "gzip", "deflate"]


class Answer:
    """A plain HTTP answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()


def request(
    clickhouse: LocalClickHouse,
    method: str = "POST",
    path: str = "/",
    body: Any = None,
    headers: dict[str, str] | None = None,
    **query: str,
) -> Answer:
    connection = http.client.HTTPConnection(clickhouse.host, clickhouse.port, timeout=WAIT_S)
    try:
        target = f"{path}?{urlencode(query)}" if query else path
        connection.request(method, target, body, headers or {}, encode_chunked=not isinstance(body, str | bytes))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_ping(clickhouse: LocalClickHouse, clickhouse_client: Client) -> None:
    assert request(clickhouse, "GET", "/ping").body == b"Ok.\n"
    assert request(clickhouse, "GET", "/").body == b"Ok.\n"
    assert request(clickhouse, "HEAD", "/ping").body == b""
    assert request(clickhouse, "GET", "/nowhere").status == 404
    assert clickhouse_client.ping()


def test_listens_on_one_address_only(clickhouse: LocalClickHouse) -> None:
    # A server on all addresses would answer at this one too; it needs no network to be tried.
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.2", clickhouse.port), timeout=WAIT_S),
    ):
        pass


@pytest.mark.parametrize(
    ("statement", "code", "status", "name"),
    [
        ("SELECT * FROM no_such_table", 60, 404, "UNKNOWN_TABLE"),
        ("SELEC 1", 62, 400, "SYNTAX_ERROR"),
        ("SELECT no_such_column", 47, 404, "UNKNOWN_IDENTIFIER"),
        ("SELECT throwIf(number = 90000) FROM numbers(1000000)", 395, 500, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_errors_carry_clickhouse_codes(
    clickhouse: LocalClickHouse, clickhouse_client: Client, statement: str, code: int, status: int, name: str
) -> None:
    with pytest.raises(DatabaseError) as raised:
        clickhouse_client.query(statement)
    assert (raised.value.code, raised.value.name) == (code, name)
    answer = request(clickhouse, body=statement)
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert answer.body.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert b"(version 2" in answer.body
    # What the failed query had already produced must not reach the next one.
    assert request(clickhouse, body="SELECT 1").body == b"1\n"


def test_failed_inserts(clickhouse: LocalClickHouse, clickhouse_client: Client, database: str) -> None:
    clickhouse_client.command("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
    for body, code in [
        (b"INSERT INTO t (a, b) FORMAT CSV\n1,2\n", 16),
        (b"INSERT INTO t FORMAT CSV\n1\nx\n", 117),
        (b"INSERT INTO t FORMAT Native\n\x01\x05\x01a\x05Int32\x00\x00", 33),
        (b"INSERT INTO t FORMAT NoSuchFormat\n1", 73),
        (b"INSERT INTO gone FORMAT CSV\n1", 60),
    ]:
        answer = request(clickhouse, body=body, database=database)
        assert answer.headers["X-ClickHouse-Exception-Code"] == str(code), answer.body
    assert clickhouse_client.command("SELECT count() FROM t") == 0


def test_any_format_over_plain_http(clickhouse: LocalClickHouse) -> None:
    answer = request(clickhouse, body="SELECT 1 AS a, 'x' AS b FORMAT JSONEachRow")
    assert json.loads(answer.body) == {"a": 1, "b": "x"}
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert answer.headers["Content-Type"].startswith("application/json")
    assert request(clickhouse, body="SELECT 1, 'x'").body == b"1\tx\n"
    assert request(clickhouse, body="SELECT 1, 'x'", default_format="CSV").body == b'1,"x"\n'
    assert request(clickhouse, "GET", query="SELECT {n:UInt8} + 1", param_n="4").body == b"5\n"
    summary = json.loads(request(clickhouse, body="SELECT number FROM numbers(10)").headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("10", "10")
    assert request(clickhouse, body="SELECT 1", query_id="mine").headers["X-ClickHouse-Query-Id"] == "mine"
    assert request(clickhouse, body="SELECT '\xff'".encode("latin-1")).body == b"\xff\n"


def test_get_changes_nothing(clickhouse: LocalClickHouse, database: str) -> None:
    answer = request(clickhouse, "GET", query="CREATE TABLE t (a Int32) ENGINE = Memory", database=database)
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "164")


@pytest.mark.parametrize("encoding", COMPRESSIONS)
def test_answers_are_compressed_when_asked(clickhouse: LocalClickHouse, encoding: str) -> None:
    codec = {"lz4": cramjam.lz4, "zstd": cramjam.zstd, "gzip": cramjam.gzip, "deflate": cramjam.zlib}[encoding]
    statement = "SELECT number % 7 FROM numbers(10000)"
    plain = request(clickhouse, body=statement, headers={"Accept-Encoding": encoding})
    assert "Content-Encoding" not in plain.headers
    answer = request(
        clickhouse, body=statement, headers={"Accept-Encoding": f"br;q=1, {encoding}"}, enable_http_compression="1"
    )
    assert answer.headers["Content-Encoding"] == encoding
    assert len(answer.body) < len(plain.body) / 1.5
    assert bytes(codec.decompress(answer.body)) == plain.body


def test_bodies_may_come_in_chunks(clickhouse: LocalClickHouse, clickhouse_client: Client, database: str) -> None:
    clickhouse_client.command("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
    chunks = [b"INSERT INTO t FOR", b"MAT CSV\n1\n2", b"3\n", b"4"]
    answer = request(clickhouse, body=iter(chunks), headers={"Transfer-Encoding": "chunked"}, database=database)
    assert answer.status == 200
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "3"
    assert clickhouse_client.query("SELECT a FROM t ORDER BY a").result_rows == [(1,), (4,), (23,)]


def test_a_body_that_breaks_off_inserts_nothing(
    clickhouse: LocalClickHouse, clickhouse_client: Client, database: str
) -> None:
    clickhouse_client.command("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
    head = f"POST /?database={database} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((clickhouse.host, clickhouse.port), timeout=WAIT_S) as connection:
        connection.sendall(head.encode() + b"INSERT INTO t FORMAT CSV\n1\n2\n")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""
    assert clickhouse_client.command("SELECT count() FROM t") == 0


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Encoding": "snappy"}, b"SELECT 1", 415),
        ({"Content-Encoding": "gzip"}, b"SELECT 1", 400),
        ({"Content-Encoding": "lz4"}, bytes(cramjam.lz4.compress(b"SELECT 1"))[:-6], 400),
        ({"Content-Length": "many"}, None, 400),
        ({"Content-Length": str(1 << 40)}, None, 413),
        ({"Transfer-Encoding": "chunked"}, b"zz\r\n", 400),
        ({"Origin": "https://example.com"}, b"SELECT 1", 403),
        ({"Host": "example.com"}, b"SELECT 1", 403),
    ],
)
def test_unreadable_requests_are_refused(
    clickhouse: LocalClickHouse, headers: dict[str, str], body: bytes | None, status: int
) -> None:
    connection = http.client.HTTPConnection(clickhouse.host, clickhouse.port, timeout=WAIT_S)
    try:
        connection.putrequest("POST", "/", skip_host="Host" in headers)
        length = {"Content-Length": str(len(body))} if body is not None and "Transfer-Encoding" not in headers else {}
        for name, value in {**length, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        assert response.status == status
        assert response.read().strip()
    finally:
        connection.close()


def test_what_the_endpoint_cannot_do_is_said(clickhouse: LocalClickHouse) -> None:
    answer = request(clickhouse, body="SELECT 1", compress="1")
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (501, "48")
    assert b"use HTTP compression" in answer.body


def test_a_stop_waits_for_the_statement_that_runs(clickhouse: LocalClickHouse) -> None:
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(request(clickhouse, body="SELECT sleep(1.5), 7").body))
    client.start()
    pid = clickhouse.pid
    while request(clickhouse, body="SELECT count() FROM system.processes WHERE query LIKE '%sleep(1.5)%'").body < b"2":
        pass
    clickhouse.stop()
    try:
        client.join(WAIT_S)
        assert answers == [b"0\t7\n"]
        assert not Path(f"/proc/{pid}").exists()
        assert port_is_free(clickhouse.port)
    finally:
        clickhouse.start()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"INSERT INTO t FORMAT CSV\n1", Insert(b"INSERT INTO t", "CSV", memoryview(b"1"))),
        (b" insert\ninto t (a, b) format Native\r\nx", Insert(b" insert\ninto t (a, b)", "Native", memoryview(b"x"))),
        (b"INSERT INTO t FORMAT CSV 1", Insert(b"INSERT INTO t", "CSV", memoryview(b"1"))),
        (b"INSERT INTO t FORMAT CSV\n\n1", Insert(b"INSERT INTO t", "CSV", memoryview(b"\n1"))),
        (b"INSERT INTO format FORMAT CSV\n1", Insert(b"INSERT INTO format", "CSV", memoryview(b"1"))),
        (b"INSERT INTO d.values FORMAT CSV\n1", Insert(b"INSERT INTO d.values", "CSV", memoryview(b"1"))),
        (b"INSERT INTO `a FORMAT b` FORMAT CSV\n", Insert(b"INSERT INTO `a FORMAT b`", "CSV", memoryview(b""))),
        (b"/* FORMAT x */ INSERT INTO t FORMAT CSV\n", Insert(b"/* FORMAT x */ INSERT INTO t", "CSV", memoryview(b""))),
        (
            b"INSERT INTO t (format, `it's`) SETTINGS async_insert = 1 FORMAT CSV\n",
            Insert(b"INSERT INTO t (format, `it's`) SETTINGS async_insert = 1", "CSV", memoryview(b"")),
        ),
        (b"INSERT INTO t VALUES ('FORMAT CSV')", None),
        (b"INSERT INTO t SELECT 1 FORMAT CSV", None),
        (b"SELECT 1 FORMAT CSV", None),
        (b"INSERT INTO t", None),
        (b"", None),
    ],
)
def test_where_the_rows_of_an_insert_begin(text: bytes, expected: Insert | None) -> None:
    assert split_insert(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT 1", "TabSeparated"),
        (b"select 1\n FORMAT Native", "Native"),
        (b"-- a comment\nSELECT 1 FORMAT JSON SETTINGS max_threads = 1;\n", "JSON"),
        (b"(SELECT 1) FORMAT CSV", "CSV"),
        (b"SELECT 'FORMAT CSV'", "TabSeparated"),
        (b"SHOW TABLES", "TabSeparated"),
        (b"CREATE TABLE t (a Int32) ENGINE = Memory", None),
        (b"INSERT INTO t VALUES (1)", None),
        (b"", None),
    ],
)
def test_in_which_format_a_statement_answers(text: bytes, expected: str | None) -> None:
    assert result_format(text, "TabSeparated") == expected
