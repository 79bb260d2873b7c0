"""Faults of the wire: what lies between a producer and the log, and breaks no model. With an account of what was done.

Messages are sent twice, held back, overtaken by others, or spoilt. All of it is drawn from (seed, second), so that it
depends neither on batching nor on how many processes share the work, and nothing of it touches what a message says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from operator import attrgetter
from typing import Final

import msgspec
import numpy as np

from loadgen.columns import Floats
from loadgen.producer import Message

_BY_TIME: Final = attrgetter("ts_ms")
_WIRE: Final = 0x77697265
"""Keeps these numbers apart from those of any entity of the same seed."""


@dataclass(frozen=True, slots=True)
class WireFaults:
    """What shares of the messages meet which fate. All shares are 0…1, all times are event time.

    Attributes
    ----------
    duplicates_ratio, duplicates_within_ms
        Sent once more, at a random moment up to so much later.
    late_ratio, late_ms
        Sent so much later than it should be, with the time it had.
    reordered_ratio, reordered_within_ms
        Held back for a random moment up to so long, so that others overtake it.
    poison_ratio
        Joined by a spoilt copy, which no reader can decode.
    """

    duplicates_ratio: float = 0.0
    duplicates_within_ms: int = 2_000
    late_ratio: float = 0.0
    late_ms: int = 60_000
    reordered_ratio: float = 0.0
    reordered_within_ms: int = 500
    poison_ratio: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith("_ratio") and not 0 <= value <= 1:
                raise ValueError(f"{name} is a share of the messages, 0…1, not {value:g}")
            if name.endswith("_ms") and value < 1:
                raise ValueError(f"{name} must be at least 1 ms, not {value}")

    @property
    def any(self) -> bool:
        """Whether anything is done at all."""
        return any((self.duplicates_ratio, self.late_ratio, self.reordered_ratio, self.poison_ratio))


class WireAccount(msgspec.Struct):
    """How many messages met which fate. A message may be late and duplicated; its copies meet no fate of their own."""

    messages: int = 0
    duplicates: int = 0
    late: int = 0
    reordered: int = 0
    poison: int = 0

    def __add__(self, other: "WireAccount") -> "WireAccount":
        names = self.__struct_fields__
        return WireAccount(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(slots=True)
class Wire:
    """Takes the messages of one second after the other, and gives what goes out in that second.

    Attributes
    ----------
    seed
        Any integer >= 0.
    account
        What was done so far.
    """

    faults: WireFaults
    seed: int = 0
    account: WireAccount = field(default_factory=WireAccount)
    _held: list[Message] = field(default_factory=list)

    def second(self, second: int, until_ms: int, messages: Sequence[Message]) -> list[Message]:
        """What goes out before ``until_ms``: of these messages and of those held back.

        Parameters
        ----------
        second
            Of the scenario; each is given once.
        messages
            By event time, all before ``until_ms``.

        Returns
        -------
        list[Message]
            By the time at which they are due. A message that was held back has that as its ``ts_ms``; the event
            times within its value stay.
        """
        rng = np.random.default_rng([_WIRE, self.seed, second])
        draws = {each.name: rng.random(len(messages)) for each in fields(WireFaults) if each.name.endswith("_ratio")}
        shifts = rng.random(len(messages))
        out = [*self._held, *self._copies(messages, draws, shifts), *self._delayed(messages, draws, shifts)]
        self.account.messages += len(messages)
        out.sort(key=_BY_TIME)
        due = next((place for place, message in enumerate(out) if message.ts_ms >= until_ms), len(out))
        self._held = out[due:]
        return out[:due]

    def rest(self) -> list[Message]:
        """What is still held back when no more comes, by the time at which it is due."""
        held, self._held = self._held, []
        return held

    def _delayed(self, messages: Sequence[Message], draws: dict[str, Floats], shifts: Floats) -> Iterator[Message]:
        faults = self.faults
        late = draws["late_ratio"] < faults.late_ratio
        reordered = (draws["reordered_ratio"] < faults.reordered_ratio) & ~late
        delays = np.where(late, faults.late_ms, 0)
        delays = np.where(reordered, 1 + (shifts * faults.reordered_within_ms).astype(np.int64), delays)
        self.account.late += int(late.sum())
        self.account.reordered += int(reordered.sum())
        for message, delay_ms in zip(messages, delays.tolist(), strict=True):
            yield _due(message, delay_ms) if delay_ms else message

    def _copies(self, messages: Sequence[Message], draws: dict[str, Floats], shifts: Floats) -> Iterator[Message]:
        faults = self.faults
        twice = np.flatnonzero(draws["duplicates_ratio"] < faults.duplicates_ratio).tolist()
        spoilt = np.flatnonzero(draws["poison_ratio"] < faults.poison_ratio).tolist()
        self.account.duplicates += len(twice)
        self.account.poison += len(spoilt)
        for place in twice:
            yield _due(messages[place], 1 + int(shifts[place] * faults.duplicates_within_ms))
        for place in spoilt:
            message, kind = messages[place], int(shifts[place] * len(_SPOIL))
            yield msgspec.structs.replace(message, value=_SPOIL[kind](message.value), events=0)


def _due(message: Message, delay_ms: int) -> Message:
    return msgspec.structs.replace(message, ts_ms=message.ts_ms + delay_ms)


_SPOIL: Final = (
    lambda value: value[: len(value) // 2],  # cut off
    lambda value: b"\xfe\xfe" + value[2:],  # neither text nor a known framing
    lambda _: b'{"ts_ms":"yesterday","model":17}',  # JSON of the wrong types
    lambda _: b"not a message at all",
    lambda _: b"{}",  # nothing that is required
)
