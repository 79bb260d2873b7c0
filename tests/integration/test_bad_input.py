"""Whatever a producer may send, between good events: it ends in the dead letters as it was, and the stream goes on."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Message

from deploy.local.clickhouse import LocalClickHouse
from deploy.local.kafka import LocalKafka
from schemas.codecs import encode_arrow
from schemas.findings import Kind
from schemas.scopes import INVALID, OTHER
from schemas.topics import TopicName
from streams.alert.policy import Group
from tests.harness.batches import HEAD, batch, store, with_crc
from tests.harness.installation import STAGES, Installation, installed, text
from tests.harness.telling import tell
from tests.harness.traffic import a_while_ago
from tests.harness.waiting import wait_for

GOOD = 40
STEP_MS = 120_000
"""Each test has event times of its own, all later than those of the one before: nothing of it is late."""
SHOWN_S = 90.0
MODELS = 100_000
MIB = 1 << 20


@dataclass
class World:
    """One worker with all stages, which every test of this file talks to."""

    installation: Installation
    now_ms: int

    def next_ms(self) -> int:
        """The event time of a test."""
        self.now_ms += STEP_MS
        return self.now_ms

    def send(self, *values: bytes | None, partition: int = 0, key: bytes = b"who") -> list[Message]:
        """Send messages, in order; they come back with their offsets."""
        sent: list[Message] = []
        producer = self.installation.producer()
        headers: list[tuple[str, str | bytes | None]] = [("origin", b"shop-7")]
        for value in values:
            producer.produce(
                self.installation.topic(TopicName.PREDICTIONS), value, key, partition, headers=headers,
                on_delivery=lambda error, message: sent.append(message) if error is None else pytest.fail(str(error)),
            )  # fmt: skip
            producer.poll(0)
        assert producer.flush(60) == 0
        return sent

    def good(self, model: str, ts_ms: int, count: int = GOOD) -> list[bytes]:
        """Predictions that nothing is wrong with."""
        return [
            json.dumps({"ts_ms": ts_ms + i, "model": model, "latency_ms": 5.0 + i, "score": 0.5}).encode()
            for i in range(count)
        ]

    def rows(self, model: str) -> int:
        """Events of a model that ClickHouse shows."""
        self.installation.check_alive()
        sql = f"SELECT sum(rows) FROM volume WHERE model = '{model}' AND segment = '' AND window_s = 10"
        return int(self.installation.query(sql)[0][0] or 0)

    def wait_rows(self, model: str, count: int) -> None:
        """Wait until so many are shown; more must not come."""
        wait_for(f"{count} events of {model} are shown", lambda: self.rows(model), SHOWN_S, until=lambda n: n >= count)
        assert self.rows(model) == count

    def count(self, model: str, counter: str) -> dict[str, int]:
        """A counter of a model: value → events."""
        sql = f"""SELECT value, sum(count) FROM categories
            WHERE model = '{model}' AND quantity = '{counter}' AND window_s = 10 GROUP BY value"""
        return dict(wait_for(counter, lambda: self.installation.query(sql), SHOWN_S))

    def letters(self, sent: Iterable[Message]) -> list[Message]:
        """The dead letters of these messages, in their order."""
        wanted = [(str(message.partition()), str(message.offset())) for message in sent]

        def find() -> dict[tuple[str, str], Message]:
            self.installation.check_alive()
            found = self.installation.read(TopicName.DEAD_LETTERS)
            by_place = {place(letter): letter for letter in found}
            assert len(by_place) == len(found), "a message was buried twice"
            return by_place

        found = wait_for("dead letters", find, SHOWN_S, until=lambda found: set(wanted) <= found.keys())
        return [found[where] for where in wanted]


def headers_of(message: Message) -> dict[str, str]:
    return {name: text(value) for name, value in dict(message.headers() or []).items()}


def place(letter: Message) -> tuple[str, str]:
    told = headers_of(letter)
    return told.get("halcyon_partition", ""), told.get("halcyon_offset", "")


@pytest.fixture(scope="module")
def world(kafka: LocalKafka, clickhouse: LocalClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("bad-input")
    with installed(kafka, clickhouse, folder, {"HALCYON_TIME__IDLE_TIMEOUT_S": "2"}) as installation:
        installation.start(*STAGES, name="all")
        installation.wait_ready()
        yield World(installation, a_while_ago())
        assert installation.stop() == {"all": 0}


def event(**fields: Any) -> bytes:
    """A prediction of the test's time and model, changed; a field that is ``...`` is left out."""
    whole = {"ts_ms": "<ts>", "model": "<model>", "latency_ms": 3.0} | fields
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def bad_arrow() -> bytes:
    """An Arrow stream that ends in the middle of its batch."""
    columns = {"ts_ms": np.arange(100), "model": ["m"] * 100, "latency_ms": np.ones(100)}
    whole = encode_arrow(columns)
    return whole[: len(whole) - len(whole) // 3]


CASES: dict[str, tuple[bytes | None, str]] = {
    "truncated JSON": (b'{"ts_ms": 1767225600000, "model": "m", "latency', "invalid_json"),
    "not UTF-8": (b'{"ts_ms": 1767225600000, "model": "\xff\xfe"}', "invalid_json"),
    "NaN": (b'{"ts_ms": 1767225600000, "model": "m", "latency_ms": NaN}', "invalid_json"),
    "Infinity": (b'{"ts_ms": 1767225600000, "model": "m", "score": -Infinity}', "invalid_json"),
    "a number beyond float64": (event(score=1).replace(b"1}", b"1e999}"), "schema_mismatch"),
    "deep nesting": (b'{"ts_ms": 1, "model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
    "text for a number": (event(latency_ms="fast"), "schema_mismatch"),
    "list for features": (event(features=[1, 2, 3]), "schema_mismatch"),
    "object for a feature": (event(features={"a": {"b": 1}}), "schema_mismatch"),
    "text for the time": (event(ts_ms="yesterday"), "schema_mismatch"),
    "negative latency": (event(latency_ms=-1.0), "schema_mismatch"),
    "no time": (event(ts_ms=...), "schema_mismatch"),
    "no model": (event(model=...), "schema_mismatch"),
    "1970": (event(ts_ms=0), "time_before_2000"),
    "2099": (event(ts_ms=4_070_908_800_000), "time_in_future"),
    "ten megabytes": (event(note="x" * 10 * MIB), "too_large"),
    "null value": (None, "null_value"),
    "empty value": (b"", "null_value"),
    "another encoding": (b"\x93\x01\x02\x03 packed", "unknown_encoding"),
    "a JSON list": (b"[1, 2, 3]", "unknown_encoding"),
    "Avro in Confluent framing": (b"\x00\x00\x00\x00\x07\x02\x0eabcdefg", "unknown_encoding"),
    "a framing and no body": (b"\x00\x00\x00", "invalid_framing"),
    "truncated Arrow": (bad_arrow(), "invalid_arrow"),
    "an Arrow head and noise": (b"\xff\xff\xff\xff" + bytes(range(200)), "invalid_arrow"),
}


def test_every_bad_message_is_kept_as_it_was_and_the_good_around_it_count(world: World) -> None:
    """All of them in one stream, each between good ones: whatever one does, it does to what follows."""
    ts_ms, values, places = world.next_ms(), list[bytes | None](), dict[str, int]()
    for number, (name, (value, _)) in enumerate(CASES.items()):
        values += world.good("between", ts_ms + number * 100)
        places[name] = len(values)
        values.append(value if value is None else value.replace(b'"<ts>"', str(ts_ms).encode()))
    sent = world.send(*values, *world.good("between", ts_ms + len(CASES) * 100))
    world.wait_rows("between", GOOD * (len(CASES) + 1))
    letters = world.letters(sent[at] for at in places.values())
    for (name, (_, reason)), letter in zip(CASES.items(), letters, strict=True):
        told = headers_of(letter)
        assert letter.value() == values[places[name]], name
        assert letter.key() == b"who", name
        assert told["halcyon_reason"] == reason, f"{name}: {told}"
        assert told["halcyon_topic"] == world.installation.topic(TopicName.PREDICTIONS), name
        assert told["halcyon_message"], name
        assert told["origin"] == "shop-7", name
    # Each of them once, none of the good ones.
    assert len(world.installation.read(TopicName.DEAD_LETTERS)) == len(CASES)


def whole_batches(ts_ms: int) -> dict[str, tuple[bytes, str, int]]:
    """What cannot be taken apart: the batch, the reason it is refused for, and how many events it says it holds."""
    one = json.dumps({"ts_ms": ts_ms, "model": "spoilt"}).encode()
    spoilt = batch("none", one, one, headers=[("name", b"")]).replace(b"name", b"na\xffe")
    bombs = {
        f"{codec} bomb": (batch(codec, *[b" " * MIB] * 200), "too_large", 200) for codec in ("gzip", "lz4", "zstd")
    }
    return {
        **bombs,
        "headers that are not UTF-8": (with_crc(spoilt), "invalid_batch", 2),
        "nothing but headers": (batch("gzip", one, headers=[("", None)] * 3_000_000), "too_large", 1),
    }


def test_batches_that_explode_or_cannot_be_read_stop_nobody(world: World, kafka: LocalKafka) -> None:
    """Some kilobytes that would be gigabytes, and bytes that make the client raise whenever they are fetched."""
    ts_ms, worker = world.next_ms(), world.installation.workers["all"]
    topic, cases = world.installation.topic(TopicName.PREDICTIONS), whole_batches(ts_ms)
    before, places = worker.rss_bytes, {}
    for number, (name, (raw, _, events)) in enumerate(cases.items()):
        world.send(*world.good("beside", ts_ms + number * 100), partition=3)
        # Behind the last offset of the batch stands what is read next.
        places[name] = asyncio.run(store(kafka.bootstrap, topic, 3, raw)) + events - 1
    world.send(*world.good("beside", ts_ms + len(cases) * 100), partition=3)
    world.wait_rows("beside", GOOD * (len(cases) + 1))
    grown = worker.rss_bytes - before
    letters = {place(letter)[1]: letter for letter in world.installation.read(TopicName.DEAD_LETTERS)}
    for name, (raw, reason, events) in cases.items():
        letter = letters[str(places[name])]
        told, value = headers_of(letter), letter.value() or b""
        assert (told["halcyon_reason"], told["halcyon_events"]) == (reason, str(events)), f"{name}: {told}"
        # The broker writes offsets, times and a checksum into the head of a batch, and leaves the rest as it is.
        assert value[HEAD:] == raw[HEAD:], name
    tell(
        f"{sum(len(raw) for raw, _, _ in cases.values()):,} bytes of hostile batches: {grown / MIB:.0f} MiB more memory"
    )
    assert grown < 512 * MIB


def test_nan_and_infinities_in_arrow_are_nulls(world: World) -> None:
    ts_ms, score = world.next_ms(), np.full(GOOD, 0.5)
    score[[1, 2, 3]] = np.nan, np.inf, -np.inf
    amount = pa.array([float("nan"), float("inf"), *[1.0] * (GOOD - 2)])
    columns = {
        "ts_ms": np.full(GOOD, ts_ms), "model": ["odd numbers"] * GOOD, "score": pa.array(score),
        "features": {"amount": amount},
    }  # fmt: skip
    world.send(*world.good("odd numbers", ts_ms), encode_arrow(columns))
    world.wait_rows("odd numbers", 2 * GOOD)
    sql = "SELECT quantity, count, max FROM windows WHERE model = 'odd numbers' AND window_s = 10 ORDER BY quantity"
    found = wait_for("quantities", lambda: world.installation.query(sql), SHOWN_S, until=lambda rows: len(rows) == 3)
    assert found == [
        ("features.amount", GOOD - 2, 1.0), ("latency_ms", GOOD, 4.0 + GOOD), ("score", 2 * GOOD - 3, 0.5)
    ]  # fmt: skip
    assert world.count("odd numbers", "non_finite") == {"features.amount": 1, "score": 2}


def test_five_thousand_features_are_cut_and_counted(world: World) -> None:
    ts_ms, limits = world.next_ms(), world.installation.settings.caps
    features = {f"f{i:04}": float(i) for i in range(5_000)}
    wide = json.dumps({"ts_ms": ts_ms, "model": "wide", "latency_ms": 5.0, "features": features}).encode()
    world.send(*world.good("wide", ts_ms), wide, *world.good("wide", ts_ms + 100))
    world.wait_rows("wide", 2 * GOOD + 1)
    sql = "SELECT countDistinct(quantity) FROM windows WHERE model = 'wide' AND startsWith(quantity, 'features.')"
    shown = wait_for("features", lambda: int(world.installation.query(sql)[0][0]), SHOWN_S)
    assert shown == limits.features_per_scope
    assert world.count("wide", "truncated") == {"features": 1}


def test_a_hundred_thousand_models_are_capped_and_memory_stays(world: World) -> None:
    worker, sizes = world.installation.workers["all"], [world.installation.workers["all"].rss_bytes]
    for flood in range(3):
        ts_ms = world.next_ms()
        names = [f"flood-{flood}-{i}" for i in range(MODELS)]
        for first in range(0, MODELS, 10_000):
            part = names[first : first + 10_000]
            columns = {
                "ts_ms": np.full(len(part), ts_ms), "model": part, "latency_ms": np.ones(len(part)),
                "features": {"amount": np.ones(len(part))},
            }  # fmt: skip
            world.send(encode_arrow(columns))
        good = f"beside flood {flood}"
        world.send(*world.good(good, ts_ms + STEP_MS // 2))
        world.next_ms()
        world.wait_rows(good, GOOD)
        sizes.append(worker.rss_bytes)
    sql = f"""SELECT countDistinct(model), sum(rows), sumIf(rows, model = '{OTHER}') FROM volume
        WHERE window_s = 10 AND segment = '' AND (startsWith(model, 'flood-') OR model = '{OTHER}')"""
    found = wait_for(
        "all floods", lambda: world.installation.query(sql)[0], SHOWN_S, until=lambda r: r[1] >= 3 * MODELS
    )
    tell(f"memory before and after each {MODELS:,} models: {[f'{size / MIB:.0f} MiB' for size in sizes]}; {found}")
    models, rows, other = found
    cap = world.installation.settings.caps.scopes
    assert rows == 3 * MODELS, "every event is counted, by name or in the bucket for the others"
    assert models <= 3 * cap + 1
    assert other >= 3 * (MODELS - cap)
    assert sizes[-1] < 1024 * MIB
    assert sizes[-1] < 1.25 * sizes[-2], "another flood of the same size must find its room there already"


def test_mostly_bad_input_is_a_finding_and_an_alert(world: World) -> None:
    ts_ms = world.next_ms()
    for pane in range(4):
        good = world.good("mostly", ts_ms + pane * 10_000, 400)
        world.send(*(b'{"ts_ms": oops' for _ in range(1_200)), *good, partition=1)
    world.wait_rows("mostly", 1_600)
    sql = f"""SELECT value, rows, summary FROM findings
        WHERE kind = '{Kind.BAD_INPUT}' AND model = '{INVALID}' AND firing
        AND start >= fromUnixTimestamp64Milli({ts_ms})"""
    found = wait_for("finding of bad input", lambda: world.installation.query(sql), SHOWN_S)
    assert all(0.5 < value <= 1 and rows >= 1_000 for value, rows, _ in found), found

    def alerted() -> list[str]:
        said = [body for _, body in world.installation.alerts()]
        return [str(body.status) for body in said if body.labels["alertname"] == Group.BAD_INPUT]

    assert "firing" in wait_for("alert of bad input", alerted, SHOWN_S)


def test_some_bad_input_is_none(world: World) -> None:
    """The same count of bad messages among many good ones: counted, shown, and nobody is woken."""
    ts_ms = world.next_ms()
    for pane in range(4):
        good = world.good("mostly good", ts_ms + pane * 10_000, 2_000)
        world.send(*(b'{"ts_ms": oops' for _ in range(1_200)), *good, partition=2)
    world.wait_rows("mostly good", 8_000)
    bad = f"""SELECT sum(count) FROM categories WHERE model = '{INVALID}' AND quantity = 'reason' AND window_s = 10
        AND start >= fromUnixTimestamp64Milli({ts_ms - STEP_MS // 2})"""
    wait_for("bad messages", lambda: int(world.installation.query(bad)[0][0] or 0), SHOWN_S, until=lambda n: n == 4_800)
    sql = f"""SELECT count() FROM findings
        WHERE kind = '{Kind.BAD_INPUT}' AND firing AND start >= fromUnixTimestamp64Milli({ts_ms})"""
    assert world.installation.query(sql) == [(0,)]
