"""Every change is held against what was found before: worse fails, better asks for a new baseline."""

import pytest

from streams.cli.suite import fast, play_all
from tests.quality import docs
from tests.quality.standing import better, read, standing, worse


@pytest.mark.slow
def test_no_kind_is_found_less_or_later_or_at_a_higher_price(request: pytest.FixtureRequest) -> None:
    before, now = read().fast, standing(list(play_all(fast())))
    assert (now.scenarios, now.seeds) == (before.scenarios, before.seeds), "python -m tests.quality --update"
    for line in better(now, before):
        terminal = request.config.get_terminal_writer()
        terminal.line(f"better: {line}; raise the baseline with python -m tests.quality --update")
    assert not worse(now, before)


def test_the_page_says_what_the_baseline_says() -> None:
    page = docs.PAGE.read_text(encoding="utf-8")
    assert docs.written(page) == page, "python -m tests.quality --update"
