"""The local endpoint answers as ClickHouse does: to its own client: types, errors, kills and restarts."""

from __future__ import annotations

import gzip
import threading
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import clickhouse_connect
import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.process import LocalPartError

pytestmark = pytest.mark.integration

WAIT_S = 60.0
START = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)


@contextmanager
def connected(clickhouse: LocalClickHouse, **options: Any) -> Iterator[Client]:
    client = clickhouse_connect.get_client(host=clickhouse.host, port=clickhouse.port, **options)
    try:
        yield client
    finally:
        client.close()


def test_queries_without_parameters(clickhouse_client: Client) -> None:
    result = clickhouse_client.query("SELECT number AS n, toString(number) AS s FROM numbers(3)")
    assert result.column_names == ("n", "s")
    assert result.result_rows == [(0, "0"), (1, "1"), (2, "2")]
    assert clickhouse_client.command("SELECT 41 + 1") == 42
    assert clickhouse_client.query("SELECT 1 AS a WHERE 0").result_rows == []
    assert clickhouse_client.query("SELECT 1 AS a, 'x' AS b LIMIT 0").column_names == ("a", "b")


def test_queries_with_parameters(clickhouse_client: Client) -> None:
    awkward = "quote ' backslash \\ tab \t line\nbreak {x:String} é"
    result = clickhouse_client.query(
        "SELECT {text:String}, {list:Array(Int64)}, {ts:DateTime64(3)}, {none:Nullable(String)}, {number:Float64}",
        parameters={"text": awkward, "list": [1, -2], "ts": START.replace(tzinfo=None), "none": None, "number": 0.1},
    )
    assert result.result_rows == [(awkward, [1, -2], START.replace(tzinfo=None), None, 0.1)]


def test_parameters_too_long_for_a_url(clickhouse_client: Client) -> None:
    values = list(range(20_000))
    assert clickhouse_client.command("SELECT length({v:Array(UInt32)})", parameters={"v": values[:100]}) == 100
    result = clickhouse_client.query("SELECT sum(arrayJoin({v:Array(UInt32)}))", parameters={"v": values})
    assert result.result_rows == [(sum(values),)]


def test_settings_apply_to_their_request_alone(clickhouse_client: Client) -> None:
    ask = "SELECT getSetting('max_block_size')"
    usual = clickhouse_client.command(ask)
    assert clickhouse_client.command(ask, settings={"max_block_size": 77}) == 77
    assert clickhouse_client.command(ask) == usual
    with pytest.raises(DatabaseError) as raised:
        clickhouse_client.command("SELECT 1", settings={"no_such_setting": 1})
    assert raised.value.code == 115


def test_the_database_applies_to_its_request_alone(
    clickhouse: LocalClickHouse, clickhouse_client: Client, database: str
) -> None:
    assert clickhouse_client.command("SELECT currentDatabase()") == database
    with connected(clickhouse) as other:
        assert other.command("SELECT currentDatabase()") == "default"
    with pytest.raises(DatabaseError) as raised, connected(clickhouse, database="no_such_database") as nowhere:
        nowhere.command("SELECT 1")
    assert raised.value.code == 81


ALL_TYPES = """
CREATE TABLE everything (
    id UInt64, name String, kind LowCardinality(String), ts DateTime64(3, 'UTC'), ratio Nullable(Float64),
    bins Array(Float64), names Array(LowCardinality(String)), sums Map(String, Float64),
    tags Map(LowCardinality(String), String), flag Bool, level Enum8('low' = 1, 'high' = 2), nested Array(Array(Int32))
) ENGINE = MergeTree ORDER BY id
"""


def all_types_row(n: int) -> tuple[Any, ...]:
    return (
        n,
        f"name {n} é\t\n'",
        f"kind {n % 3}",
        START + timedelta(milliseconds=n),
        None if n % 2 else n / 3,
        [n / 7] * (n % 4),
        [f"l{n % 5}"] * (n % 3),
        {"a": n * 0.1, "b": -n * 0.5} if n % 3 else {},
        {"segment": f"s{n}"},
        bool(n % 2),
        "high" if n % 2 else "low",
        [[n], [], [1, 2]],
    )


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_inserted_columns_come_back(clickhouse: LocalClickHouse, database: str, compress: str | bool) -> None:
    rows = [all_types_row(n) for n in range(5000)]
    with connected(clickhouse, database=database, compress=compress, tz_mode="aware") as client:
        client.command(ALL_TYPES)
        summary = client.insert(
            "everything", [list(column) for column in zip(*rows, strict=True)], column_oriented=True
        )
        assert summary.written_rows == len(rows)
        result = client.query("SELECT * FROM everything ORDER BY id")
        assert [type_.name for type_ in result.column_types][3:5] == ["DateTime64(3, 'UTC')", "Nullable(Float64)"]
        assert result.result_rows == rows


def test_an_insert_of_many_blocks(clickhouse_client: Client) -> None:
    # Each block is compressed by itself: the body holds several compressed frames.
    count = 400_000
    clickhouse_client.command("CREATE TABLE wide (n UInt64, x Float64, s String) ENGINE = MergeTree ORDER BY n")
    numbers = np.arange(count)
    columns: list[Any] = [numbers, numbers / 8, [f"{n:032d}" for n in range(count)]]
    clickhouse_client.insert("wide", columns, column_names=["n", "x", "s"], column_oriented=True)
    result = clickhouse_client.query("SELECT count(), sum(n), sum(x), min(s), max(s) FROM wide")
    total = count * (count - 1) // 2
    assert result.result_rows == [(count, total, total / 8, f"{0:032d}", f"{count - 1:032d}")]
    table = clickhouse_client.query_np("SELECT n FROM wide ORDER BY n")
    assert np.array_equal(table[:, 0], numbers)


def test_raw_inserts(clickhouse_client: Client) -> None:
    clickhouse_client.command("CREATE TABLE t (a Int32, b String) ENGINE = MergeTree ORDER BY a")
    clickhouse_client.raw_insert("t", ["a", "b"], '{"a": 1, "b": "x"}\n', fmt="JSONEachRow")
    clickhouse_client.raw_insert("t", ["a", "b"], gzip.compress(b"2,y\n"), fmt="CSV", compression="gzip")
    clickhouse_client.raw_insert("t", ["a", "b"], zlib.compress(b"6,w\n"), fmt="CSV", compression="deflate")
    clickhouse_client.command("INSERT INTO t VALUES (3, 'z')")
    clickhouse_client.command("INSERT INTO t SELECT a + 10, b FROM t")
    clickhouse_client.command("INSERT INTO t FORMAT CSV", data="4,FORMAT Native\n")
    clickhouse_client.insert("t", [[5, "s"]], settings={"async_insert": 1, "wait_for_async_insert": 0})
    rows = clickhouse_client.query("SELECT a, b FROM t ORDER BY a").result_rows
    inserted = [(1, "x"), (2, "y"), (3, "z"), (4, "FORMAT Native"), (5, "s"), (6, "w")]
    assert rows == [*inserted, (11, "x"), (12, "y"), (13, "z"), (16, "w")]


def test_replacing_merge_tree_shows_the_last_version(clickhouse_client: Client) -> None:
    clickhouse_client.command(
        "CREATE TABLE panes (key String, count UInt64, version UInt64)"
        " ENGINE = ReplacingMergeTree(version) ORDER BY key"
    )
    for version in (1, 3, 2):
        rows = [[f"k{n}", version * 100 + n, version] for n in range(10)]
        clickhouse_client.insert("panes", rows, column_names=["key", "count", "version"])
    shown = clickhouse_client.query("SELECT key, count FROM panes FINAL ORDER BY key").result_rows
    assert shown == [(f"k{n}", 300 + n) for n in range(10)]


def test_two_clients_insert_and_query_at_once(clickhouse: LocalClickHouse, database: str) -> None:
    batches, size = 20, 500
    with connected(clickhouse, database=database) as client:
        client.command("CREATE TABLE t (writer UInt8, n UInt32) ENGINE = MergeTree ORDER BY (writer, n)")
    failures: list[BaseException] = []
    seen: dict[int, list[int]] = {0: [], 1: []}

    def work(writer: int) -> None:
        try:
            with connected(clickhouse, database=database) as client:
                for batch in range(batches):
                    rows = [[writer, batch * size + n] for n in range(size)]
                    client.insert("t", rows, column_names=["writer", "n"])
                    mine = client.command(f"SELECT count() FROM t WHERE writer = {writer}")
                    seen[writer].append(int(str(mine)))
                    with pytest.raises(DatabaseError):
                        client.query("SELECT no_such_column FROM t")
        except BaseException as error:  # noqa: BLE001 - carried to the test's thread
            failures.append(error)

    workers = [threading.Thread(target=work, args=(writer,)) for writer in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(WAIT_S)
    assert failures == []
    own_writes = [(batch + 1) * size for batch in range(batches)]
    assert seen == {0: own_writes, 1: own_writes}
    with connected(clickhouse, database=database) as client:
        rows = client.query("SELECT writer, count(), uniqExact(n) FROM t GROUP BY writer ORDER BY writer").result_rows
    assert rows == [(0, batches * size, batches * size), (1, batches * size, batches * size)]


def test_a_kill_loses_no_acknowledged_insert(clickhouse: LocalClickHouse, database: str) -> None:
    with connected(clickhouse, database=database) as client:
        client.command("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
    acknowledged: list[int] = []
    enough = threading.Event()

    def insert_until_killed() -> None:
        with connected(clickhouse, database=database, query_retries=0) as client:
            for n in range(1_000_000):
                try:
                    client.insert("t", [[n]], column_names=["n"])
                except Exception:  # noqa: BLE001 - the connection broke, in whatever way
                    return
                acknowledged.append(n)
                if n == 50:
                    enough.set()

    inserter = threading.Thread(target=insert_until_killed)
    inserter.start()
    assert enough.wait(WAIT_S)
    clickhouse.kill()
    inserter.join(WAIT_S)
    clickhouse.restart()
    with connected(clickhouse, database=database) as client:
        kept = [row[0] for row in client.query("SELECT n FROM t ORDER BY n").result_rows]
    # The insert that the kill interrupted may have been done, unknown to its client.
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) - len(acknowledged) in {0, 1}


def test_functions_and_views_persist_over_a_restart(
    clickhouse: LocalClickHouse, clickhouse_client: Client, database: str
) -> None:
    function = f"double_{uuid.uuid4().hex[:8]}"
    clickhouse_client.command(f"CREATE FUNCTION {function} AS (x) -> 2 * x")
    try:
        clickhouse_client.command("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
        clickhouse_client.command("INSERT INTO t SELECT number FROM numbers(10)")
        clickhouse_client.command(f"CREATE VIEW above AS SELECT {function}(n) AS d FROM t WHERE n >= {{least:UInt32}}")
        clickhouse.restart()
        rows = clickhouse_client.query("SELECT d FROM above(least = 8) ORDER BY d").result_rows
        assert rows == [(16,), (18,)]
        bound = clickhouse_client.query("SELECT d FROM above(least = {n:UInt32})", parameters={"n": 9}).result_rows
        assert bound == [(18,)]
    finally:
        clickhouse_client.command(f"DROP FUNCTION {function}")


def test_start_errors(clickhouse: LocalClickHouse, tmp_path: Path) -> None:
    with pytest.raises(LocalPartError, match="already runs as process"):
        clickhouse.start()
    with pytest.raises(LocalPartError, match=f"port {clickhouse.port} on 127.0.0.1 is taken"):
        LocalClickHouse(tmp_path / "other", port=clickhouse.port).start()
    with pytest.raises(LocalPartError, match=r"(?s)ended with status 1 while starting.*cannot open .*another process"):
        LocalClickHouse(clickhouse.data_dir).start()
