import io

from rich.console import Console

from schemas.alerts import Alert, Evidence, Observation, Status
from streams.cli.up_view import Overview, StageLine, plain, render
from streams.supervisor import Page

OK = Page(
    answered=True,
    ready=True,
    checks={
        "ingest.lag_events": (True, "12, at most 1e+06"),
        "ingest.watermark_delay_s": (True, "6.2, at most 120"),
        "ingest.commit_age_s": (True, "nothing to judge"),
    },
)
FAILING = Page(
    True, False, {"write.insert_age_s": (False, "400, at most 300"), "write.assigned": (True, "4 partitions")}
)


def line(stage: str, page: Page, *, alive: bool = True, restarts: int = 0) -> StageLine:
    return StageLine(stage, alive, restarts, "http://127.0.0.1:6060" if alive else "", "logs/x.log", page)


def alert() -> Alert:
    seen = Observation(
        "drift", "psi", "score", "", "critical", 1.0, 0.0, 0.5, "", 2.0, 9, 1.0, 0, 60_000, 0, "", "", ""
    )
    return Alert(
        id="a",
        status=Status.FIRING,
        labels={"severity": "critical"},
        annotations={"summary": "fraud [v2] drifts"},
        starts_at="2026-05-01T12:00:00.000Z",
        updated_at="2026-05-01T12:03:00.000Z",
        fingerprint="f",
        sequence=1,
        evidence=Evidence(leading=seen),
    )


def shown(overview: Overview) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(render(overview))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def overview(*stages: StageLine, alerts: tuple[Alert, ...] = ()) -> Overview:
    return Overview("127.0.0.1:9092", "http://127.0.0.1:8123", ("Kafka",), stages, alerts)


def test_numbers_are_shown_without_their_limits() -> None:
    text = shown(overview(line("ingest", OK)))
    assert "12" in text
    assert "6.2 s" in text
    assert "1e+06" not in text
    assert "http://127.0.0.1:6060/metrics" in text
    assert "none yet" in text
    assert "started here" in text
    assert "as configured" in text


def test_states_tell_what_to_look_at() -> None:
    assert line("ingest", OK).state == "ok"
    assert line("write", FAILING).state == "failing: write.insert_age_s"
    assert line("alert", Page(answered=False)).state == "starting"
    ended = line("alert", Page(answered=False), alive=False, restarts=2)
    assert "ended" in ended.state
    assert "logs/x.log" in shown(overview(ended))


def test_alerts_are_shown_as_they_are_written() -> None:
    text = shown(overview(line("ingest", OK), alerts=(alert(),)))
    assert "fraud [v2] drifts" in text
    assert "12:03:00" in text


def test_one_line_where_there_is_no_terminal() -> None:
    assert plain(overview(line("ingest", OK), line("write", FAILING))) == (
        "ingest ok, lag 12; write failing: write.insert_age_s, lag –"
    )
