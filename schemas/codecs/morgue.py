"""Collects what could not be used: one dead letter per message, however many of its events are bad."""

from collections.abc import Iterable

from schemas.codecs.times import Problem
from schemas.columns import DeadLetter, Ints, Reason


class Morgue:
    """The dead of one micro-batch, at most one letter per record: the first reason, and how many events it took."""

    def __init__(self) -> None:
        self._letters: dict[int, DeadLetter] = {}

    def add(self, record: int, reason: Reason, message: str, events: int = 1) -> None:
        """Bury ``events`` events of a record; a record that is here already keeps its first reason."""
        known = self._letters.get(record)
        if known is None:
            self._letters[record] = DeadLetter(record, reason, message, events)
        else:
            self._letters[record] = DeadLetter(record, known.reason, known.message, known.events + events)

    def add_all(self, records: Ints, problems: Iterable[Problem]) -> None:
        """Bury the events of ``problems``, whose places point into ``records``."""
        for place, reason, message in problems:
            self.add(int(records[place]), reason, message)

    def letters(self) -> tuple[DeadLetter, ...]:
        """All letters by ascending record."""
        return tuple(self._letters[record] for record in sorted(self._letters))
