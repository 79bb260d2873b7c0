from collections import Counter

import numpy as np
import pytest

from loadgen.producer import Message
from loadgen.wire import Wire, WireFaults
from schemas.codecs import decode_predictions

START_MS = 1_780_000_000_000
ALL = WireFaults(duplicates_ratio=0.1, late_ratio=0.1, late_ms=3_000, reordered_ratio=0.2, poison_ratio=0.05)


def messages(second: int, count: int = 500) -> list[Message]:
    return [
        Message(START_MS + second * 1000 + place, b"%d-%d" % (second, place), b'{"ts_ms":%d}' % place)
        for place in range(count)
    ]


def played(wire: Wire, seconds: range) -> list[Message]:
    out: list[Message] = []
    for second in seconds:
        out += wire.second(second, START_MS + (second + 1) * 1000, messages(second))
    return out + wire.rest()


def test_a_sound_wire_changes_nothing() -> None:
    assert played(Wire(WireFaults()), range(3)) == [message for second in range(3) for message in messages(second)]


def test_nothing_is_lost_and_the_account_is_what_was_sent() -> None:
    wire = Wire(ALL, seed=3)
    sent = played(wire, range(10))
    account = wire.account
    assert account.messages == 5000
    assert len(sent) == 5000 + account.duplicates + account.poison
    values = {message.key: message.value for second in range(10) for message in messages(second)}
    sound = Counter(message.key for message in sent if message.value == values[message.key])
    assert set(sound) == set(values)
    assert sum(sound.values()) == 5000 + account.duplicates
    assert sum(message.events for message in sent) == 5000 + account.duplicates


def test_shares_are_those_asked_for() -> None:
    account = Wire(ALL, seed=1).account
    wire = Wire(ALL, seed=1, account=account)
    played(wire, range(40))
    for seen, ratio in (
        (account.duplicates, ALL.duplicates_ratio),
        (account.late, ALL.late_ratio),
        (account.poison, ALL.poison_ratio),
        (account.reordered, ALL.reordered_ratio * (1 - ALL.late_ratio)),
    ):
        # Five standard deviations of a binomial count.
        assert seen == pytest.approx(20_000 * ratio, abs=5 * np.sqrt(20_000 * ratio))


def test_late_messages_come_when_they_are_due_and_keep_their_time() -> None:
    sent = played(Wire(WireFaults(late_ratio=0.2, late_ms=3_000), seed=5), range(10))
    assert [message.ts_ms for message in sent] == sorted(message.ts_ms for message in sent)
    told = {message.key: message for second in range(10) for message in messages(second)}
    delays = {message.ts_ms - told[message.key].ts_ms for message in sent}
    assert delays == {0, 3_000}
    assert all(message.value == told[message.key].value for message in sent)


def test_messages_overtake_each_other_within_bounds() -> None:
    sent = played(Wire(WireFaults(reordered_ratio=0.5, reordered_within_ms=200), seed=5), range(5))
    told = {message.key: message.ts_ms for second in range(5) for message in messages(second)}
    order = [told[message.key] for message in sent]
    assert order != sorted(order)
    assert max(message.ts_ms - told[message.key] for message in sent) <= 200


def test_a_second_meets_the_same_fate_in_every_process() -> None:
    alone = Wire(ALL, seed=9)
    together = {(m.key, m.ts_ms, m.value) for m in played(alone, range(12))}
    parts = [Wire(ALL, seed=9) for _ in range(3)]
    shared = {(m.key, m.ts_ms, m.value) for share, wire in enumerate(parts) for m in played(wire, range(share, 12, 3))}
    assert shared == together
    account = parts[0].account + parts[1].account + parts[2].account
    assert account == alone.account


def test_poison_cannot_be_decoded_and_says_why() -> None:
    event = b'{"event_id":"a","ts_ms":%d,"model":"m","latency_ms":3.5}' % START_MS
    wire = Wire(WireFaults(poison_ratio=1.0), seed=2)
    out = wire.second(0, START_MS + 1000, [Message(START_MS, b"k", event)] * 200)
    spoilt = [message.value for message in out if message.value != event]
    assert len(spoilt) == 200
    decoded = decode_predictions(spoilt, [()] * 200, np.full(200, START_MS))
    assert len(decoded.columns) == 0
    assert {dead.reason.value for dead in decoded.dead} >= {"invalid_json", "schema_mismatch"}


@pytest.mark.parametrize(
    ("faults", "words"), [({"late_ratio": 1.5}, "late_ratio"), ({"reordered_within_ms": 0}, "at least 1 ms")]
)
def test_what_cannot_be_is_refused(faults: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WireFaults(**faults)  # type: ignore[arg-type]
