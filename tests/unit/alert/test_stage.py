"""Exactness: whatever step a worker dies between, each alert event stands on the topic once."""

import json
import random

import pytest

from schemas import control, findings, rows
from schemas.alerts import Status, decode, header
from schemas.control import Control, ControlKind
from schemas.findings import FindingMessage, Kind
from schemas.rows import TABLES
from schemas.scopes import Family, Scope
from streams.alert.policy import AlertPolicy
from streams.stage import Batch, Position
from tests.unit.alert.helpers import at, finding, through
from tests.unit.alert.test_lifecycle import random_history
from tests.unit.alert.world import FINDINGS, Crash, Life, World, live, record

POLICY = AlertPolicy()


def world_of(seed: int, crash_ratio: float) -> World:
    messages = [*random_history(seed), through(9999), through(9999, partition=1)]
    return World([findings.encode(message) for message in messages], random.Random(seed), crash_ratio)


def ids(world: World) -> list[str]:
    return [header(sent.headers, "ce_id") for sent in world.alerts()]


def latest_rows(world: World, table: str) -> dict[tuple[str, int], dict[str, object]]:
    """What a ReplacingMergeTree shows: of rows with the same id and version, the one written last."""
    found: dict[tuple[str, int], dict[str, object]] = {}
    for sent in world.logs["rows", 0]:
        batch = rows.decode(sent.value or b"")
        if batch.table == table:
            for values in zip(*batch.columns, strict=True):
                row = dict(zip(TABLES[table], values, strict=True))
                found[row["id"], row["version"]] = row
    return found


@pytest.mark.parametrize("seed", range(20))
async def test_a_crash_between_any_two_steps_neither_repeats_nor_loses_an_event(seed: int) -> None:
    calm, stormy = world_of(seed, 0.0), world_of(seed, 0.03)
    await live(calm, POLICY)
    await live(stormy, POLICY)
    assert stormy.crashes > 5
    assert len(set(ids(stormy))) == len(ids(stormy)) > 10
    assert sorted(ids(stormy)) == sorted(ids(calm))
    assert {sent.value for sent in stormy.alerts()} == {sent.value for sent in calm.alerts()}
    assert latest_rows(stormy, "alerts") == latest_rows(calm, "alerts")
    assert latest_rows(stormy, "findings").keys() == latest_rows(calm, "findings").keys()


@pytest.mark.parametrize("seed", range(20))
async def test_a_state_that_is_gone_is_made_anew_without_saying_anything_twice(seed: int) -> None:
    calm, stormy = world_of(seed, 0.0), world_of(seed, 0.02)
    await live(calm, POLICY)
    rng, wiped = random.Random(~seed), 0

    def between(offset: int) -> None:
        nonlocal wiped
        if wiped < 3 and stormy.committed is not None and rng.random() < 0.05:
            wiped += 1
            stormy.states.clear()
            raise Crash

    await live(stormy, POLICY, between)
    assert wiped
    assert sorted(ids(stormy)) == sorted(ids(calm))
    assert {sent.value for sent in stormy.alerts()} == {sent.value for sent in calm.alerts()}
    assert latest_rows(stormy, "alerts") == latest_rows(calm, "alerts")
    assert latest_rows(stormy, "findings").keys() == latest_rows(calm, "findings").keys()


def silence(rng: random.Random, window: int) -> bytes:
    labels = {"model": rng.choice(["m0", "m1"])}
    matchers = [{"name": name, "value": value} for name, value in labels.items()]
    span = {"starts_ms": at(window), "ends_ms": at(window + rng.randint(5, 60))}
    return json.dumps({"kind": "silence", "id": f"s{window}", "matchers": matchers, **span}).encode()


@pytest.mark.parametrize("seed", range(20))
async def test_silences_come_whenever_they_like_and_the_topic_and_the_table_still_agree(seed: int) -> None:
    world = world_of(seed, 0.03)
    rng = random.Random(~seed)

    def between(offset: int) -> None:
        if rng.random() < 0.05:
            world.control.append(silence(rng, offset // 4))

    await live(world, POLICY, between)
    assert world.crashes > 5
    assert len(set(ids(world))) == len(ids(world))
    table = latest_rows(world, "alerts")
    published = {(alert.id, alert.sequence): alert for alert in (decode(sent.value or b"") for sent in world.alerts())}
    assert {key: row["status"] for key, row in table.items() if key in published} == {
        key: alert.status.value for key, alert in published.items()
    }
    firing = {key for key, row in table.items() if row["status"] == "firing"}
    assert firing == {key for key, alert in published.items() if alert.status is Status.FIRING}
    told = {alert.id for alert in published.values() if alert.status is Status.FIRING}
    assert told == {alert.id for alert in published.values() if alert.status is Status.RESOLVED}


async def test_an_event_carries_cloudevents_headers_and_its_fingerprint_as_key() -> None:
    world = World([findings.encode(m) for m in (finding(Kind.ERRORS, "errors", 0), through(1))], random.Random(1))
    await live(world, POLICY)
    (sent,) = world.alerts()
    alert = decode(sent.value or b"")
    named = {name: value.decode() for name, value in sent.headers}
    assert sent.key == alert.fingerprint.encode()
    assert named.pop("ce_id")
    assert named == {
        "ce_specversion": "1.0",
        "ce_type": "sre.halcyon.alert.firing",
        "ce_source": "/halcyon/alert",
        "ce_time": alert.updated_at,
        "ce_dataschema": "urn:halcyon:alert:1",
        "ce_findingsoffset": "1",
        "content-type": "application/json",
    }


async def test_a_message_that_cannot_be_read_goes_to_the_dead_letters_and_the_stream_goes_on() -> None:
    good = [findings.encode(m) for m in (finding(Kind.ERRORS, "errors", 0), through(1))]
    world = World([b"", b"\x09garbage", *good], random.Random(1))
    await live(world, POLICY)
    letters = world.logs["dead-letters", 0]
    assert [sent.value for sent in letters] == [b"", b"\x09garbage"]
    assert [header(sent.headers, "halcyon_offset") for sent in letters] == ["0", "1"]
    assert len(world.alerts()) == 1


async def test_a_control_message_that_cannot_be_read_is_passed_over() -> None:
    world = World([findings.encode(m) for m in (finding(Kind.ERRORS, "errors", 0), through(1))], random.Random(1))
    world.control += [b"{", b'{"kind": "deployment"}', b'{"kind": "silence", "matchers": {}}']
    await live(world, POLICY)
    assert len(world.alerts()) == 1


async def test_nothing_is_committed_before_it_is_saved_and_then_where_the_snapshot_stands() -> None:
    world = world_of(3, 0.0)
    life = Life(world, POLICY)
    await life.stage.assigned({FINDINGS: None})
    await life.stage.process(Batch("findings", 0, [record("findings", 0, world.findings[0])], 1))
    await life.stage.tick()
    assert life.stage.committable() == {}
    life.clock.advance(60)
    await life.stage.tick()
    assert life.stage.committable() == {FINDINGS: Position(1)}


async def test_findings_of_a_topic_made_anew_are_not_passed_over() -> None:
    old = world_of(3, 0.0)
    await live(old, POLICY)
    fresh = [findings.encode(m) for m in (finding(Kind.ERRORS, "errors", 99_999), through(100_000))]
    world = World(fresh, random.Random(1), states=old.states)
    life = Life(world, POLICY)
    await life.run()
    assert life.outside.closed
    assert len(world.alerts()) == 1


async def test_a_silence_holds_from_where_it_was_taken_in_every_later_life() -> None:
    models = [Scope(Family.PREDICTION, name, "1") for name in ("m0", "m1")]
    messages: list[FindingMessage] = [*(finding(Kind.ERRORS, "errors", 0, scope=scope) for scope in models), through(1)]
    world = World([findings.encode(message) for message in messages], random.Random(1))
    silenced = Control(kind=ControlKind.SILENCE, id="s", matchers={"model": "m0"})
    world.control.append(control.encode(silenced))
    first = Life(world, POLICY)
    await first.stage.assigned({FINDINGS: None})
    await first.stage.tick()
    records = [record("findings", offset, value) for offset, value in enumerate(world.findings)]
    await first.stage.process(Batch("findings", 0, records, len(records)))
    first.outside.deliver(lambda count: count)  # and then it dies, before the next snapshot
    assert [decode(sent.value or b"").labels["model"] for sent in world.alerts()] == ["m1"]
    await live(world, POLICY)
    assert [decode(sent.value or b"").labels["model"] for sent in world.alerts()] == ["m1"]
