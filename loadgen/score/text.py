"""Accounts for people: a table by kind of injection, beneath it what an alarm at fixed intervals would have scored."""

from typing import Final

import msgspec
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from loadgen.score.interval import IntervalScore
from loadgen.score.totals import Account, KindScore

_HEADINGS: Final = (
    "injected", "found", "too quiet", "info only", "p50", "p95", "near misses that alerted", "true", "other", "false",
    "of them pages", "false per model-day", "false infos",
)  # fmt: skip


_WIDE: Final = 160
"""Characters: where nobody looks there is no width to fit into."""


def console() -> Console:
    """Standard output, as wide as the account is where it is no terminal."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=_WIDE)


def to_json(account: Account) -> bytes:
    """The account for machines; the unit of a field is in its name."""
    return msgspec.json.format(msgspec.json.encode(account), indent=2)


def render(account: Account) -> RenderableType:
    """The account for a terminal."""
    grid = Table(title=f"Account of {_runs(account)}", title_justify="left", title_style="bold", show_edge=False)
    for heading in _HEADINGS:
        grid.add_column(heading, justify="left" if heading == "injected" else "right", overflow="fold")
    for kind in account.kinds:
        grid.add_row(*_coloured(kind))
    grid.add_section()
    grid.add_row(*_coloured(account.total), style="bold")
    return Group(grid, "", *summary(account))


def markdown(account: Account) -> str:
    """The account by kind as a table in Markdown."""
    lines = [" | ".join(_HEADINGS), "|".join(["---", *("--:" for _ in _HEADINGS[1:])])]
    lines += [" | ".join(_cells(kind)) for kind in (*account.kinds, account.total)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def summary(account: Account) -> list[str]:
    """The account in sentences: what was reached, and what an alarm at fixed intervals would have reached."""
    total = account.total
    reached = (
        f"recall {_share(total.recall)}, precision {_share(total.precision)} ({_share(total.page_precision)} of "
        f"pages), F1 {total.f1:.2f}, {total.false.total} false alerts in {total.model_days:.1f} model-days "
        f"({total.false.unprovoked} out of nothing, {total.false.near_misses} at near misses, "
        f"{total.false.wrong_family} of a wrong family), {total.false.infos} false infos, "
        f"{account.duplicates} duplicates"
    )
    intervals = (("as many alarms", account.as_many), ("the best interval", account.best_interval))
    return [reached, *(_interval(words, interval) for words, interval in intervals if interval is not None)]


def _interval(words: str, interval: IntervalScore) -> str:
    every = "window" if interval.every_windows == 1 else f"{interval.every_windows} windows"
    return (
        f"an alarm every {every} on every entity ({words}): recall {interval.recall:.0%}, "
        f"precision {interval.precision:.0%}, F1 {interval.f1:.2f}, {_seconds(interval.delay_p50_s)} after the onset"
    )


def _runs(account: Account) -> str:
    return f"{account.runs} run" + ("s" if account.runs != 1 else "")


def _coloured(kind: KindScore) -> list[str]:
    cells = [escape(cell) for cell in _cells(kind)]
    worrying = {
        1: (kind.detected < kind.must, "red"),
        2: (kind.quiet > 0, "yellow"),
        6: (kind.near_misses_alerted > 0, "red"),
        9: (kind.false.total > 0, "red"),
    }
    for place, (holds, colour) in worrying.items():
        if holds:
            cells[place] = f"[{colour}]{cells[place]}[/]"
    return cells


def _cells(kind: KindScore) -> list[str]:
    return [
        kind.injection or "(of no kind)",
        f"{kind.detected} of {kind.must}" if kind.must else "–",
        str(kind.quiet) if kind.quiet else "–",
        str(kind.noticed) if kind.noticed else "–",
        _seconds(kind.delay_p50_s),
        _seconds(kind.delay_p95_s),
        f"{kind.near_misses_alerted} of {kind.near_misses}" if kind.near_misses else "–",
        str(kind.true_alerts),
        str(kind.other_alerts),
        str(kind.false.total),
        str(kind.false.pages),
        "–" if kind.false_per_model_day is None else f"{kind.false_per_model_day:.1f}",
        str(kind.false.infos) if kind.false.infos else "–",
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} s"
