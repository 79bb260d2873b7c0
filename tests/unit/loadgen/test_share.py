from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from loadgen.playing import Schedule
from loadgen.producer import Message
from loadgen.scenarios import load
from loadgen.share import Encoding, Plan, outgoing
from loadgen.wire import Wire, WireFaults
from schemas.codecs import decode_predictions

START_MS = 1_780_000_020_000
SCHEDULE = Schedule(START_MS, speed=10.0, begin_ms=START_MS + 500_000)


def plan(**changes: Any) -> Plan:
    return replace(Plan("demo", 7, SCHEDULE, 0.0, 60, {}, topic_prefix="t.", stretch_s=10), **changes)


def sent(of: Plan, shares: int) -> list[Message]:
    out: list[Message] = []
    for share in range(shares):
        wire = Wire(of.wire, of.seed)
        for stretch in outgoing(of, load(of.scenario, seed=of.seed), wire, share, shares):
            out += stretch
    return out


@pytest.mark.parametrize("encoding", list(Encoding))
@pytest.mark.parametrize("wire", [WireFaults(), WireFaults(duplicates_ratio=0.1, late_ratio=0.1, poison_ratio=0.1)])
def test_what_is_sent_does_not_depend_on_how_many_share_the_work(encoding: Encoding, wire: WireFaults) -> None:
    of = plan(encoding=encoding, wire=wire)
    one, three = sent(of, 1), sent(of, 3)
    assert len(one) > 50
    assert sorted(map(msgspec.msgpack.encode, one)) == sorted(map(msgspec.msgpack.encode, three))


def test_one_share_is_by_the_time_at_which_it_is_due() -> None:
    times = [message.ts_ms for message in sent(plan(), 1)]
    assert times == sorted(times)
    assert times[0] >= START_MS
    assert times[-1] < START_MS + 60_000


def test_every_event_says_when_it_was_meant_to_go_out_and_readers_pass_that_over() -> None:
    out = sent(plan(), 1)
    for message in out:
        event = msgspec.json.decode(message.value)
        assert event["ts_ms"] == message.ts_ms
        assert event["intended_ts_ms"] == START_MS + 500_000 + round((message.ts_ms - START_MS) / 10)
        assert message.topic == "t.predictions"
    decoded = decode_predictions([m.value for m in out], [()] * len(out), np.full(len(out), START_MS + 60_000))
    assert not decoded.dead
    assert len(decoded.columns) == len(out)
