"""What alerts are judged to be, and what runs add up to."""

import io
import json
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from loadgen.score.interval import best, of_as_many
from loadgen.score.run import Run, Watched, judge, seen
from loadgen.score.scorecard import Judgement, score
from loadgen.score.text import markdown, render, to_json
from loadgen.score.timeline import svg
from loadgen.score.totals import ALL, QUIET, account
from loadgen.truth import Expectation, Truth
from schemas.alerts import Alert, Status
from schemas.findings import Kind, Severity
from tests.unit.loadgen.test_score_card import GRACE_MS, START_MS, alert

HOUR = Watched(("fraud", "chat"), START_MS, START_MS + 3_600_000)


def truth(
    onset_s: int,
    end_s: int,
    expectation: Expectation = Expectation.MUST,
    *,
    entity: str = "fraud",
    injection: str = "feature_drift",
    kinds: tuple[Kind, ...] = (Kind.DRIFT,),
    target: str = "",
) -> Truth:
    return Truth(
        name=f"{injection}-{onset_s}",
        entity=entity,
        onset_ms=START_MS + onset_s * 1000,
        end_ms=START_MS + end_s * 1000,
        kinds=kinds,
        collateral=(Kind.OUTLIERS,),
        severity=Severity.TICKET,
        expectation=expectation,
        target=target,
        injection=injection,
    )


FAULT = truth(600, 900)
MAYBE = truth(1800, 2100, Expectation.MAY, injection="small_drift")
NEAR_MISS = truth(2700, 3000, Expectation.MUST_NOT, injection="promotion")
TRUTHS = (FAULT, MAYBE, NEAR_MISS)


def run(*alerts: Alert, truths: tuple[Truth, ...] = TRUTHS) -> Run:
    return judge(truths, alerts, GRACE_MS, HOUR, "made up", 3)


@pytest.mark.parametrize(
    ("said", "judgement"),
    [
        (alert(700), Judgement.DETECTS),
        (alert(700, "outliers"), Judgement.COLLATERAL),
        (alert(700, "latency"), Judgement.WRONG_FAMILY),
        (alert(1900), Judgement.TOLERATED),
        (alert(1900, "latency"), Judgement.WRONG_FAMILY),
        (alert(2800), Judgement.NEAR_MISS),
        (alert(2800, "latency"), Judgement.NEAR_MISS),
        (alert(100), Judgement.UNPROVOKED),
        (alert(700, model="chat"), Judgement.UNPROVOKED),
        (alert(1300), Judgement.UNPROVOKED),
    ],
)
def test_an_alert_is_judged_by_time_entity_and_kind(said: Alert, judgement: Judgement) -> None:
    (judged,) = run(said).card.alerts
    assert judged.judgement is judgement
    assert judged.false == (judgement in {"near_miss", "wrong_family", "unprovoked"})


def test_what_may_alert_is_neither_missed_nor_found() -> None:
    quiet, loud = account([run(alert(700))]).total, account([run(alert(700), alert(1900, id_="b"))]).total
    assert quiet.recall == loud.recall == 1.0
    assert quiet.precision == loud.precision == 1.0
    assert (quiet.must, quiet.may) == (1, 1)
    assert loud.other_alerts == 1


def test_a_near_miss_that_alerts_is_false_and_fails() -> None:
    heard = run(alert(700, severity="warning"), alert(2800, id_="b"))
    assert not heard.card.passed
    row = account([heard]).kind("promotion")
    assert row is not None
    assert (row.near_misses, row.near_misses_alerted, row.false.pages, row.false.near_misses) == (1, 1, 1, 1)
    assert run(alert(700, severity="warning")).card.passed


def test_the_other_gpus_of_a_host_are_not_struck() -> None:
    struck = truth(600, 900, entity="host-1", kinds=(Kind.GPU_XID,), target="GPU-7")

    def about(gpu: str) -> Alert:
        one = alert(700, "gpu_xid")
        return Alert(**{f: getattr(one, f) for f in one.__struct_fields__ if f != "labels"},
                     labels={"host": "host-1", "gpu_uuid": gpu, "severity": "critical"})  # fmt: skip

    assert score((struck,), [about("GPU-7")], GRACE_MS).faults[0].detected
    wrong = score((struck,), [about("GPU-8")], GRACE_MS)
    assert not wrong.faults[0].detected
    assert wrong.alerts[0].judgement is Judgement.UNPROVOKED


def test_an_alert_that_fires_again_is_judged_again() -> None:
    ended = alert(1000, status=Status.RESOLVED, sequence=2)
    again = alert(1950, severity="warning", since_s=700, sequence=3)
    assert [j.judgement for j in run(alert(700), ended, again).card.alerts] == ["detects", "tolerated"]
    # Its own start is that of the first time, which lies before anything was injected here.
    over = alert(300, status=Status.RESOLVED, sequence=2)
    later = run(alert(100), over, alert(700, since_s=100, seen_s=600, sequence=3))
    assert [j.judgement for j in later.card.alerts] == ["unprovoked", "detects"]
    # What it sees has been there since long before the fault.
    older = run(alert(100), over, alert(700, since_s=100, seen_s=50, sequence=3))
    assert [j.judgement for j in older.card.alerts] == ["unprovoked", "unprovoked"]


def test_kinds_add_up_to_the_total() -> None:
    totals = account([run(alert(700), alert(100, id_="b"), alert(2800, id_="c", severity="warning")), run(alert(100))])
    assert totals.runs == 2
    assert [kind.injection for kind in totals.kinds] == ["feature_drift", "promotion", "small_drift", QUIET]
    assert totals.total.injection == ALL
    for count in ("must", "detected", "noticed", "may", "near_misses", "true_alerts", "other_alerts", "model_days"):
        assert sum(getattr(kind, count) for kind in totals.kinds) == pytest.approx(getattr(totals.total, count)), count
    for count in ("pages", "tickets", "infos", "unprovoked", "near_misses", "wrong_family"):
        assert sum(getattr(kind.false, count) for kind in totals.kinds) == getattr(totals.total.false, count), count
    assert totals.total.recall == 0.5
    assert totals.total.precision == pytest.approx(1 / 4)
    assert totals.total.false_per_model_day == pytest.approx(3 / (2 * 2 / 24))


def test_delays_are_of_what_was_detected() -> None:
    faults = tuple(truth(600 * n, 600 * n + 200) for n in (1, 2, 3, 4))
    said = [alert(600 * n + 10 * n, id_=str(n)) for n in (1, 2, 3)]
    total = account([run(*said, truths=faults)]).total
    assert (total.detected, total.delay_p50_s) == (3, 20.0)
    assert total.delay_p95_s == pytest.approx(29.0)


def test_too_quiet_is_found_and_said_to_be() -> None:
    loud = msgspec.structs.replace(FAULT, severity=Severity.PAGE)
    row = account([run(alert(700, severity="warning"), truths=(loud,))]).kind("feature_drift")
    assert row is not None
    assert (row.detected, row.quiet, row.recall) == (1, 1, 1.0)


def test_nobody_is_told_of_an_info() -> None:
    infos = [alert(at_s, severity="info", id_=str(at_s)) for at_s in (100, 700, 2800)]
    total = account([run(*infos)]).total
    assert (total.detected, total.noticed, total.near_misses_alerted) == (0, 1, 0)
    assert (total.true_alerts, total.false.total, total.false.infos) == (0, 0, 2)
    assert total.precision is None
    # Where no more is wanted it is enough.
    modest = msgspec.structs.replace(FAULT, severity=Severity.INFO)
    assert account([run(*infos, truths=(modest,))]).total.detected == 1


def test_nothing_to_divide_by_is_unknown() -> None:
    total = account([run(truths=(NEAR_MISS,))]).total
    assert (total.recall, total.precision, total.delay_p50_s, total.f1) == (None, None, None, 0.0)
    assert account([run(truths=(NEAR_MISS,))]).as_many is None


def test_what_is_watched_is_seen_as_far_as_it_can_be() -> None:
    heard = run(alert(700), alert(100, model="gpu-host", id_="b"))
    assert heard.watched.entities == ("fraud", "chat", "gpu-host")
    spans = seen(TRUTHS, [judged.episode for judged in heard.card.alerts], GRACE_MS)
    assert spans == Watched(("fraud", "gpu-host"), START_MS + 100_000, START_MS + 3_300_000)
    with pytest.raises(ValueError, match="nothing was injected"):
        seen((), [], GRACE_MS)
    with pytest.raises(ValueError, match="must end after its start"):
        Watched(("fraud",), START_MS, START_MS)


# -- alarms at fixed intervals ---------------------------------------------------------------------------------------


def test_an_alarm_every_window_finds_everything_at_the_price_of_the_rest() -> None:
    heard = run(truths=(FAULT,))
    every = of_as_many([heard], alarms=120)
    assert every is not None
    # Of 60 windows of two entities the fault and its grace, minutes 10 to 20, take 11.
    assert (every.every_windows, every.alarms, every.recall) == (1, 120, 1.0)
    assert every.precision == pytest.approx(11 / 120)
    assert every.delay_p50_s == 0.0


def test_what_may_alert_counts_neither_way_for_intervals_too() -> None:
    every = of_as_many([run(truths=(FAULT, MAYBE))], alarms=120)
    assert every is not None
    assert every.alarms == 120 - 11
    assert every.recall == 1.0


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 12), st.sampled_from(["fraud", "chat"])), max_size=5),
    st.integers(1, 40),
)
def test_no_interval_does_better_than_the_best(faults: list[tuple[int, int, str]], alarms: int) -> None:
    truths = tuple(truth(60 * at, 60 * (at + long), entity=entity) for at, long, entity in faults)
    heard = [run(truths=truths)]
    top, other = best(heard), of_as_many(heard, alarms)
    assert top is not None
    assert other is not None
    assert other.f1 <= top.f1
    assert 0.0 <= other.precision <= 1.0
    assert other.recall <= (1.0 if truths else 0.0)


def test_a_lucky_rhythm_is_found_in_hindsight() -> None:
    regular = tuple(truth(600 * n, 600 * n + 60) for n in range(1, 6))
    heard = judge(regular, [], 0, Watched(("fraud",), START_MS, START_MS + 3_600_000))
    top = best([heard])
    assert top is not None
    assert top.recall == 1.0
    assert top.every_windows == 10
    assert top.precision == pytest.approx(5 / 6)


# -- telling ---------------------------------------------------------------------------------------------------------


def test_the_account_reads_as_text_markdown_and_json() -> None:
    totals = account([run(alert(700), alert(2800, severity="warning", id_="b"))])
    console = Console(width=200, file=io.StringIO())
    console.print(render(totals))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "recall 100%, precision 50% (100% of pages)" in shown
    assert "1 at near misses" in shown
    assert "the best interval" in shown
    assert "| feature_drift | 1 of 1 |" in markdown(totals)
    assert "| promotion | – | – | – | – | – | 1 of 1 |" in markdown(totals)
    told = json.loads(to_json(totals))
    assert told["kinds"][0]["delay_p50_s"] == 100.0
    assert told["best_interval"]["recall"] == 1.0


def test_the_picture_tells_each_fate_and_each_loudness() -> None:
    missed = truth(1200, 1500, entity="chat", injection="drift & more", kinds=(Kind.LATENCY,))
    drawn = svg(
        run(
            alert(700),
            alert(800, status=Status.RESOLVED, sequence=2),
            alert(2800, severity="warning", id_="b"),
            alert(100, severity="info", id_="c", model="chat"),
            truths=(*TRUTHS, missed, truth(1250, 1300, entity="chat", kinds=(Kind.NULLS,))),
        )
    )
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    lanes = list(root.iter(f"{space}g"))
    bands = [band.get("class") for group in lanes for band in group.iter(f"{space}rect")]
    assert sorted(filter(None, bands)) == ["band alerted", "band found", "band may", "band missed", "band missed"]
    marks = [mark.get("class") for group in lanes for mark in group.iter(f"{space}path")]
    assert marks == ["true", "false", "false"]
    titles = [title.text or "" for title in root.iter(f"{space}title")]
    assert any("detected as drift (page) after 100 s" in title for title in titles)
    assert any("drift & more" in title and "missed: latency expected" in title for title in titles)
    # What overlaps on an entity lies on two rows.
    rows = {
        band.get("y") for group in lanes for band in group.iter(f"{space}rect") if "missed" in band.get("class", "")
    }
    assert len(rows) == 2
    assert "prefers-color-scheme:dark" in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
