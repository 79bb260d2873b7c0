import threading
from collections.abc import Iterator

import pytest

from loadgen.ahead import Ahead


def test_items_come_in_order_and_all_of_them() -> None:
    assert list(Ahead(range(500), 3)) == list(range(500))


def test_no_more_is_made_than_was_asked_for() -> None:
    made: list[int] = []
    first = threading.Event()

    def items() -> Iterator[int]:
        for item in range(100):
            made.append(item)
            if item == 2:
                first.set()
            yield item

    taken = iter(Ahead(items(), 2))
    assert next(taken) == 0
    assert first.wait(10)
    # One was taken, two wait, and one is in the maker's hands.
    assert len(made) <= 4
    taken.close()  # type: ignore[attr-defined]


def test_what_ends_the_making_is_raised_where_it_is_taken() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    taken = iter(Ahead(items(), 5))
    assert next(taken) == 1
    with pytest.raises(ValueError, match="no more"):
        next(taken)


def test_the_thread_ends_when_nobody_takes_any_more() -> None:
    before = threading.active_count()
    taken = iter(Ahead(iter(int, 1), 2))
    next(taken)
    assert threading.active_count() == before + 1
    taken.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
