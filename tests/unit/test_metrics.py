import inspect
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.config import HealthSettings, LoggingSettings
from streams.health import StageStatus, judge
from streams.logs import configure_logging
from streams.metrics import Metrics, render

LABELS = {"stage", "topic", "partition", "table", "detector", "reason", "kind", "severity", "status", "window"}

EXAMPLES: dict[str, object] = {
    "stage": "ingest",
    "topic": "predictions",
    "partition": 3,
    "table": "panes",
    "detector": "psi",
    "reason": "invalid_json",
    "kind": "scope",
    "severity": "critical",
    "status": "firing",
    "window": "10s",
    "count": 7,
    "events": 7,
    "rows": 7,
    "offset": 7,
    "size_bytes": 7,
    "duration_s": 0.5,
    "delay_s": 7.0,
    "at_s": 7.0,
}


def methods() -> dict[str, Callable[..., None]]:
    return {name: method for name, method in inspect.getmembers(Metrics, inspect.isfunction) if name[0] != "_"}


def call(metrics: Metrics, name: str) -> None:
    parameters = list(inspect.signature(methods()[name]).parameters)[1:]
    getattr(metrics, name)(*(EXAMPLES[parameter] for parameter in parameters))


def samples(metrics: Metrics) -> dict[str, float]:
    text = render(metrics.registry)[0].decode()
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def changed(metrics: Metrics, name: str) -> dict[str, float]:
    before = samples(metrics)
    call(metrics, name)
    after = samples(metrics)
    return {key: value for key, value in after.items() if before.get(key) != value and not key.startswith("process_")}


def test_names_follow_the_rule_and_labels_are_bounded() -> None:
    metrics = Metrics()
    for name in methods():
        call(metrics, name)
    families = [family for family in metrics.registry.collect() if not family.name.startswith("process_")]
    units = r"(events|items|panes|windows|scopes|states|findings|alerts|failures|rows|bytes|seconds|offset|build)"
    for family in families:
        assert re.fullmatch(rf"halcyon_([a-z_]+_)?{units}", family.name), family.name
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert set(sample.labels) <= LABELS | {"le", "version"}, sample


@pytest.mark.parametrize("name", sorted(set(methods()) - {"forget_partition", "worst_watermark_delay_s"}))
def test_each_method_changes_a_metric(name: str) -> None:
    assert changed(Metrics(), name)


@pytest.mark.parametrize(
    ("name", "sample", "value"),
    [
        ("events_read", "halcyon_read_events_total['3', 'ingest', 'predictions']", 7),
        ("dead_lettered", "halcyon_dead_letter_events_total['invalid_json', 'predictions']", 7),
        ("late", "halcyon_late_events_total['ingest', 'predictions']", 7),
        ("lag", "halcyon_lag_events['3', 'ingest', 'predictions']", 7),
        ("committed", "halcyon_last_commit_timestamp_seconds['3', 'ingest', 'predictions']", 7),
        ("inserted", "halcyon_written_rows_total['panes']", 7),
        ("inserted", "halcyon_last_insert_timestamp_seconds['panes']", 7),
        ("snapshot_taken", "halcyon_snapshot_size_bytes['3']", 7),
        ("capped", "halcyon_capped_items_total['scope']", 7),
        ("alert_sent", "halcyon_alerts_total['critical', 'firing']", 1),
    ],
)
def test_what_is_recorded_is_shown(name: str, sample: str, value: float) -> None:
    assert changed(Metrics(), name)[sample] == value


def test_two_instances_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.alert_sent("critical", "firing")
    assert not any(key.startswith("halcyon_alerts_total") for key in samples(other))


def test_a_revoked_partition_is_forgotten_and_others_are_not() -> None:
    metrics = Metrics()
    for partition in (1, 2):
        metrics.lag("ingest", "predictions", partition, 5)
        metrics.committed("ingest", "predictions", partition, 9, 9.0)
    metrics.forget_partition("ingest", "predictions", 1)
    metrics.forget_partition("ingest", "predictions", 77)
    left = [key for key in samples(metrics) if "lag_events" in key or "last_commit" in key]
    assert left
    assert all("['2'" in key for key in left)


def test_the_version_and_the_process_are_shown() -> None:
    shown = samples(Metrics("1.2.3"))
    assert shown["halcyon_build_info['1.2.3']"] == 1
    assert shown["process_resident_memory_bytes[]"] > 0


def test_scrapers_get_the_format_they_ask_for() -> None:
    assert render(Metrics().registry, "application/openmetrics-text; version=1.0.0")[1].startswith(
        "application/openmetrics-text"
    )
    assert render(Metrics().registry, "")[1].startswith("text/plain")


class TestHealth:
    fine = StageStatus("ingest", tick_age_s=0.1, assigned_partitions=2, lag_events=3, commit_age_s=1.0)

    def failed(self, **changes: Any) -> tuple[list[str], list[str]]:
        status = StageStatus(**{**{name: getattr(self.fine, name) for name in self.fine.__struct_fields__}, **changes})
        health = judge((status,), HealthSettings())
        return [check.name for check in health.alive if not check.ok], [
            check.name for check in health.ready if not check.ok
        ]

    def test_a_stage_that_keeps_up_is_alive_and_ready(self) -> None:
        assert self.failed() == ([], [])

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("lag_events", 10**9),
            ("watermark_delay_s", 1e6),
            ("commit_age_s", 1e6),
            ("insert_age_s", 1e6),
            ("broker_wait_s", 1e6),
        ],
    )
    def test_each_number_over_its_limit_is_not_ready_but_alive(self, name: str, value: float) -> None:
        assert self.failed(**{name: value}) == ([], [f"ingest.{name}"])

    def test_the_limit_itself_is_fine(self) -> None:
        limits = HealthSettings()
        assert self.failed(watermark_delay_s=limits.watermark_delay_s, tick_age_s=limits.tick_age_s) == ([], [])

    def test_a_loop_that_hangs_is_not_alive(self) -> None:
        assert self.failed(tick_age_s=1e6) == (["ingest.tick_age_s"], [])

    def test_who_waits_for_brokers_does_not_hang(self) -> None:
        assert self.failed(tick_age_s=1e6, broker_wait_s=1.0) == ([], [])
        assert self.failed(tick_age_s=1e6, broker_wait_s=1e6) == ([], ["ingest.broker_wait_s"])

    def test_without_partitions_it_is_not_ready(self) -> None:
        assert self.failed(assigned_partitions=0) == ([], ["ingest.assigned"])

    def test_a_spare_is_ready(self) -> None:
        assert self.failed(assigned_partitions=0, spare=True) == ([], [])

    def test_what_is_not_due_is_not_judged(self) -> None:
        assert self.failed(watermark_delay_s=None, commit_age_s=None, insert_age_s=None) == ([], [])

    def test_nan_is_never_healthy(self) -> None:
        assert self.failed(watermark_delay_s=float("nan")) == ([], ["ingest.watermark_delay_s"])

    def test_no_stage_is_not_ready(self) -> None:
        assert [check.ok for check in judge((), HealthSettings()).ready] == [False]

    def test_one_of_two_stages_fails_by_name(self) -> None:
        other = StageStatus("write", tick_age_s=0.0, assigned_partitions=1, insert_age_s=1e6)
        health = judge((self.fine, other), HealthSettings())
        assert [check.name for check in health.ready if not check.ok] == ["write.insert_age_s"]


class TestLogs:
    @pytest.fixture(autouse=True)
    def _restore(self) -> Iterator[None]:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        yield
        root.handlers[:] = handlers
        root.setLevel(level)

    def written(self, **settings: Any) -> io.StringIO:
        stream = io.StringIO()
        configure_logging(LoggingSettings(**settings), stream)
        return stream

    def test_text_carries_the_facts(self) -> None:
        stream = self.written()
        logging.getLogger("streams.x").warning("slow %s", "insert", extra={"table": "panes", "rows": 3})
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d\.\d{3} WARNING streams\.x: slow insert table=panes rows=3\n", stream.getvalue()
        )

    def test_json_is_an_object_a_line(self) -> None:
        stream = self.written(format="json")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logging.getLogger("streams.x").exception("broke", extra={"tp": ("t", 1), "odd": {1}})
        logging.getLogger("streams.x").info("two\nlines")
        first, second = (json.loads(line) for line in stream.getvalue().splitlines())
        assert (first["level"], first["logger"], first["message"], first["tp"]) == (
            "error",
            "streams.x",
            "broke",
            ["t", 1],
        )
        assert "ZeroDivisionError" in first["error"]
        assert second["message"] == "two\nlines"

    def test_text_has_the_traceback_below(self) -> None:
        stream = self.written()
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logging.getLogger("streams.x").exception("broke")
        assert stream.getvalue().splitlines()[-1] == "ZeroDivisionError: division by zero"

    @pytest.mark.parametrize(
        ("level", "faust", "ours"), [("info", False, True), ("debug", True, True), ("error", False, False)]
    )
    def test_libraries_narrate_to_debuggers_alone(self, level: str, faust: bool, ours: bool) -> None:
        stream = self.written(level=level)
        logging.getLogger("faust.worker").info("narration")
        logging.getLogger("streams.x").info("ours")
        assert ("narration" in stream.getvalue()) is faust
        assert ("ours" in stream.getvalue()) is ours
