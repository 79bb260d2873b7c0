"""``halcyon-loadgen score``: truths against alerts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from loadgen.connecting import client_config

if TYPE_CHECKING:
    from loadgen.score.run import Run
    from loadgen.truth import Truth
    from schemas.alerts import Alert

_GRACE_S: Final = 300
_NEVER_MS: Final = 1 << 62


def command(
    *,
    truth: Annotated[
        Path | None, typer.Option(help="File of what was injected: one JSON object a line.", show_default=False)
    ] = None,
    alerts: Annotated[
        Path | None, typer.Option(help="File of alert events: one JSON object a line.", show_default=False)
    ] = None,
    bootstrap: Annotated[
        str, typer.Option(help="Brokers whose topics are read instead of the file that is not given.")
    ] = "",
    kafka: Annotated[
        list[str] | None, typer.Option("--kafka", help="A setting of librdkafka for them, NAME=VALUE.")
    ] = None,
    truth_topic: Annotated[str, typer.Option(help="Where the truth is.")] = "ground-truth",
    alert_topic: Annotated[str, typer.Option(help="Where the alerts are.")] = "alerts",
    grace_s: Annotated[
        int, typer.Option(min=0, help="How long after an injection's end an alert may belong to it.")
    ] = _GRACE_S,
    start: Annotated[
        str, typer.Option(help="When watching began (2026-11-21T08:00:00Z): what was before is left out.")
    ] = "",
    end: Annotated[str, typer.Option(help="When it ended: what came later is left out.")] = "",
    entities: Annotated[
        list[str] | None,
        typer.Option("--entity", help="Who was watched without being struck: models, feature sets, hosts."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the account here too.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the run here, as SVG.")] = None,
) -> None:
    """Score alerts against the truth: recall, precision, delay, false alerts per model-day.

    Beside it stands what an alarm at fixed intervals would have scored: what is not better than that is no skill.
    """
    from loadgen.producer import LoadError
    from loadgen.score.text import console, render, to_json
    from loadgen.score.timeline import svg
    from loadgen.score.totals import account

    try:
        run = _judged(
            _truths(truth, bootstrap, kafka or [], truth_topic),
            _alerts(alerts, bootstrap, kafka or [], alert_topic),
            grace_s * 1000,
            (start, end),
            entities or [],
        )
    except ValueError as error:
        raise LoadError(str(error)) from error
    totals = account([run])
    out = console()
    out.print(render(totals))
    for path, content in ((json_file, to_json(totals)), (picture, svg(run).encode())):
        if path is not None:
            _write(path, content)


def _truths(path: Path | None, bootstrap: str, settings: Sequence[str], topic: str) -> "list[Truth]":
    from loadgen.score.reading import truths_in, truths_on

    return truths_in(path) if path is not None else truths_on(_config(bootstrap, settings, "--truth"), topic)


def _alerts(path: Path | None, bootstrap: str, settings: Sequence[str], topic: str) -> "list[Alert]":
    from loadgen.score.reading import alerts_in, alerts_on

    return alerts_in(path) if path is not None else alerts_on(_config(bootstrap, settings, "--alerts"), topic)


def _config(bootstrap: str, settings: Sequence[str], instead: str) -> dict[str, str]:
    if not bootstrap:
        raise typer.BadParameter(f"give a file with {instead}, or brokers with --bootstrap")
    return client_config(bootstrap, settings)


def _judged(
    truths: "list[Truth]", alerts: "list[Alert]", grace_ms: int, span: tuple[str, str], entities: Sequence[str]
) -> "Run":
    from loadgen.score.episodes import episodes
    from loadgen.score.run import Watched, judge, seen
    from schemas.alerts import milliseconds

    start_ms, end_ms = (_moment_ms(text) if text else None for text in span)
    first_ms, last_ms = start_ms or 0, end_ms or _NEVER_MS
    if last_ms <= first_ms:
        raise typer.BadParameter("--end must come after --start")
    truths = [one for one in truths if first_ms <= one.onset_ms < last_ms]
    alerts = [one for one in alerts if first_ms <= milliseconds(one.updated_at) < last_ms]
    known = seen(truths, episodes(alerts)[0], grace_ms)
    watched = Watched(
        tuple(dict.fromkeys((*known.entities, *entities))),
        known.start_ms if start_ms is None else start_ms,
        known.end_ms if end_ms is None else end_ms,
    )
    named = (truths[0].scenario, truths[0].seed) if truths else ("", 0)
    return judge(truths, alerts, grace_ms, watched, *named)


def _moment_ms(text: str) -> int:
    from schemas.alerts import milliseconds

    try:
        return milliseconds(text)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-11-21T08:00:00Z") from error


def _write(path: Path, content: bytes) -> None:
    from loadgen.producer import LoadError

    try:
        path.write_bytes(content)
    except OSError as error:
        raise LoadError(f"{path} cannot be written: {error.strerror or error}. Name another file.") from error
