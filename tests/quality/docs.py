"""What is missed today, as docs/loadgen.md says it: generated from the committed baseline."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from loadgen.score.run import Run
from loadgen.score.timeline import svg
from tests.quality.standing import missed, read

PAGE: Final = Path(__file__).parents[2] / "docs" / "loadgen.md"
PICTURE: Final = PAGE.parent / "images" / "score.svg"
PICTURED: Final = "suite-latency"
BEGIN: Final = "<!-- from here on written by python -m tests.quality --update -->"
END: Final = "<!-- up to here -->"


def section() -> str:
    """The generated part."""
    whole = read().whole
    played = (
        f"{len(whole.scenarios)} scenarios, {len(whole.seeds)} seeds: what was found is counted over all of them, the "
        "rest are medians over the seeds.\nWorst first, and only kinds at which something is wanting."
    )
    return f"{played}\n\n{missed(whole.kinds)}\n"


def written(page: str) -> str:
    """The page with the part as it should be.

    Raises
    ------
    ValueError
        If the page has no place for it.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has lost the marks {BEGIN!r} and {END!r}")
    return f"{head}{BEGIN}\n\n{section()}\n{END}{tail}"


def write(runs: Iterable[Run]) -> None:
    """Bring the page and its picture up to date."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    pictured = next(run for run in runs if run.scenario == PICTURED)
    PICTURE.write_text(svg(pictured), encoding="utf-8")
