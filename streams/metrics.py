"""Every metric of Halcyon, declared here and nowhere else.

Names are ``halcyon_<noun>_<unit>[_total]``. Labels are bounded: stage, topic, partition, table, detector, and small
closed sets (reason, kind, severity, status, window). A model, feature or segment is never a label: those live in
ClickHouse.
"""

from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

__all__ = ["CollectorRegistry", "Metrics", "render"]

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SLOW_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000)

_PARTITION = ("stage", "topic", "partition")
_TASKS: Final = Path("/proc/self/task")


def render(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """Render ``registry`` in the exposition format that the ``Accept`` header asks for: (body, content type)."""
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


def _threads() -> int:
    return sum(1 for _ in _TASKS.iterdir()) if _TASKS.exists() else 0


class Metrics:
    """The metrics of one process, as one method per thing that happens.

    Stages that share a process share one instance. Instances do not share anything: each has its own registry.

    Parameters
    ----------
    version
        Version shown in ``halcyon_build_info``.
    """

    def __init__(self, version: str = "") -> None:
        registry = CollectorRegistry()
        self.registry = registry
        # CPU, resident memory and open files of this process, under their customary names (process_*).
        ProcessCollector(registry=registry)
        # Under a customary name too: the threads of the Kafka clients count, which Python does not know of.
        threads = Gauge("process_threads", "Number of OS threads in the process.", registry=registry)
        threads.set_function(_threads)
        Info("halcyon_build", "Version that runs.", registry=registry).info({"version": version})
        self._declare_reading(registry)
        self._declare_detecting(registry)
        self._declare_writing(registry)

    def _declare_reading(self, registry: CollectorRegistry) -> None:
        # Messages taken from Kafka by a stage; events within an Arrow batch count one by one.
        self._read = Counter("halcyon_read_events_total", "Events read.", _PARTITION, registry=registry)
        # Rejected messages, by why. The dead-letter topic holds their bytes.
        self._dead = Counter(
            "halcyon_dead_letter_events_total",
            "Events sent to the dead letters.",
            ("topic", "reason"),
            registry=registry,
        )
        # Events whose pane had passed; they are counted in the pane of the watermark at their arrival.
        self._late = Counter(
            "halcyon_late_events_total", "Events that came late.", ("stage", "topic"), registry=registry
        )
        # What was over a bound on memory: kind is scope, feature, category, segment, string or message.
        self._capped = Counter("halcyon_capped_items_total", "Items over a cap.", ("kind",), registry=registry)
        # Size and cost of what the transport hands over at once.
        self._batch_events = Histogram(
            "halcyon_batch_size_events", "Events of a batch.", ("stage",), buckets=_SIZES, registry=registry
        )
        self._batch_s = Histogram(
            "halcyon_batch_duration_seconds", "Time to handle a batch.", ("stage",), buckets=_FAST_S, registry=registry
        )
        # Events between the position of a stage and the end of the partition.
        self._lag = Gauge("halcyon_lag_events", "Events not read yet.", _PARTITION, registry=registry)
        # How far event time trails the clock.
        self._watermark_delay = Gauge(
            "halcyon_watermark_delay_seconds", "Wall time minus watermark.", _PARTITION, registry=registry
        )
        # Offsets and the time they were committed; time() minus this is the age of the last commit.
        self._committed = Gauge("halcyon_committed_position_offset", "Offset committed.", _PARTITION, registry=registry)
        self._last_commit = Gauge(
            "halcyon_last_commit_timestamp_seconds", "When the last commit succeeded.", _PARTITION, registry=registry
        )
        self._commit_failures = Counter(
            "halcyon_commit_failures_total", "Commits that failed.", ("stage", "topic"), registry=registry
        )

    def _declare_detecting(self, registry: CollectorRegistry) -> None:
        self._panes = Counter("halcyon_emitted_panes_total", "Panes emitted.", ("topic",), registry=registry)
        # Length is 10s, 1m, 5m or 1h. A window corrected after its close counts as closed once, as corrected each time.
        self._windows = Counter("halcyon_closed_windows_total", "Windows closed.", ("window",), registry=registry)
        self._corrections = Counter(
            "halcyon_corrected_windows_total", "Closed windows that a pane corrected.", ("window",), registry=registry
        )
        self._scopes = Gauge("halcyon_tracked_scopes", "Scopes held in memory.", ("stage",), registry=registry)
        # Ingest: panes that wait for the watermark. Analyse: windows of all lengths that are not closed yet.
        self._open = Gauge("halcyon_open_windows", "Windows not closed yet.", ("stage",), registry=registry)
        self._step_s = Histogram(
            "halcyon_step_duration_seconds",
            "Time of a detector's step.",
            ("detector",),
            buckets=_FAST_S,
            registry=registry,
        )
        self._findings = Counter("halcyon_findings_total", "Findings emitted.", ("detector",), registry=registry)
        # Status is firing or resolved: each is one message on the alert topic.
        self._alerts = Counter("halcyon_alerts_total", "Alerts sent.", ("severity", "status"), registry=registry)
        self._firing = Gauge("halcyon_firing_alerts", "Alerts that fire now.", ("severity",), registry=registry)
        self._snapshot_bytes = Gauge(
            "halcyon_snapshot_size_bytes", "Size of the last state snapshot.", ("partition",), registry=registry
        )
        self._snapshot_s = Histogram(
            "halcyon_snapshot_duration_seconds", "Time to take a state snapshot.", buckets=_SLOW_S, registry=registry
        )
        # A partition was taken over that had been read before, and its state was gone from the state topic.
        self._lost_states = Counter(
            "halcyon_lost_states_total", "States that had to be made anew.", ("stage",), registry=registry
        )

    def _declare_writing(self, registry: CollectorRegistry) -> None:
        self._rows = Counter("halcyon_written_rows_total", "Rows inserted.", ("table",), registry=registry)
        self._insert_s = Histogram(
            "halcyon_insert_duration_seconds", "Time of an insert.", ("table",), buckets=_SLOW_S, registry=registry
        )
        self._insert_rows = Histogram(
            "halcyon_insert_size_rows", "Rows of an insert.", ("table",), buckets=_SIZES, registry=registry
        )
        self._last_insert = Gauge(
            "halcyon_last_insert_timestamp_seconds", "When the last insert succeeded.", ("table",), registry=registry
        )
        # Each is tried again until it succeeds: this counts tries, not lost rows. Reason is a bounded class of errors.
        self._insert_failures = Counter(
            "halcyon_insert_failures_total", "Inserts that failed.", ("table", "reason"), registry=registry
        )

    def events_read(self, stage: str, topic: str, partition: int, count: int) -> None:
        """Count ``count`` events read from a partition."""
        self._read.labels(stage, topic, partition).inc(count)

    def dead_lettered(self, topic: str, reason: str, count: int = 1) -> None:
        """Count events of ``topic`` sent to the dead letters."""
        self._dead.labels(topic, reason).inc(count)

    def late(self, stage: str, topic: str, count: int) -> None:
        """Count late events (ingest) or late panes (analyse)."""
        self._late.labels(stage, topic).inc(count)

    def capped(self, kind: str, count: int = 1) -> None:
        """Count items that were over the cap ``kind``."""
        self._capped.labels(kind).inc(count)

    def batch_handled(self, stage: str, events: int, duration_s: float) -> None:
        """Record size and cost of a batch."""
        self._batch_events.labels(stage).observe(events)
        self._batch_s.labels(stage).observe(duration_s)

    def lag(self, stage: str, topic: str, partition: int, events: int) -> None:
        """Set the events between position and end of a partition."""
        self._lag.labels(stage, topic, partition).set(events)

    def watermark_delay(self, stage: str, topic: str, partition: int, delay_s: float) -> None:
        """Set how far the watermark of a partition trails the clock."""
        self._watermark_delay.labels(stage, topic, partition).set(delay_s)

    def worst_watermark_delay_s(self, stage: str) -> float | None:
        """Return the largest delay of a stage's partitions; None while none is known."""
        delays = [
            sample.value
            for metric in self._watermark_delay.collect()
            for sample in metric.samples
            if sample.labels["stage"] == stage
        ]
        return max(delays, default=None)

    def committed(self, stage: str, topic: str, partition: int, offset: int, at_s: float) -> None:
        """Record a commit that succeeded at Unix time ``at_s``."""
        self._committed.labels(stage, topic, partition).set(offset)
        self._last_commit.labels(stage, topic, partition).set(at_s)

    def commit_failed(self, stage: str, topic: str) -> None:
        """Count a commit that failed."""
        self._commit_failures.labels(stage, topic).inc()

    def forget_partition(self, stage: str, topic: str, partition: int) -> None:
        """Drop the gauges of a partition that was revoked, so that no stale lag is shown beside its new owner's."""
        for gauge in (self._lag, self._watermark_delay, self._committed, self._last_commit):
            gauge.remove_by_labels({"stage": stage, "topic": topic, "partition": str(partition)})

    def panes_emitted(self, topic: str, count: int) -> None:
        """Count panes made from the source ``topic``."""
        self._panes.labels(topic).inc(count)

    def windows_closed(self, window: str, count: int = 1) -> None:
        """Count closed windows of the length ``window``: ``10s``, ``1m``, ``5m``, ``1h``."""
        self._windows.labels(window).inc(count)

    def windows_corrected(self, window: str, count: int = 1) -> None:
        """Count closed windows whose rows a late pane corrected."""
        self._corrections.labels(window).inc(count)

    def scopes_tracked(self, stage: str, count: int) -> None:
        """Set the scopes a stage holds."""
        self._scopes.labels(stage).set(count)

    def windows_open(self, stage: str, count: int) -> None:
        """Set the panes (ingest) or windows (analyse) that a stage holds open."""
        self._open.labels(stage).set(count)

    def stepped(self, detector: str, duration_s: float) -> None:
        """Record the cost of a detector's step."""
        self._step_s.labels(detector).observe(duration_s)

    def findings_emitted(self, detector: str, count: int = 1) -> None:
        """Count findings of a detector kind."""
        self._findings.labels(detector).inc(count)

    def alert_sent(self, severity: str, status: str) -> None:
        """Count an alert message."""
        self._alerts.labels(severity, status).inc()

    def alerts_firing(self, severity: str, count: int) -> None:
        """Set the alerts that fire now."""
        self._firing.labels(severity).set(count)

    def snapshot_taken(self, partition: int, size_bytes: int, duration_s: float) -> None:
        """Record a state snapshot."""
        self._snapshot_bytes.labels(partition).set(size_bytes)
        self._snapshot_s.observe(duration_s)

    def state_lost(self, stage: str) -> None:
        """Count a partition whose state was gone and is made anew out of what its topic still holds."""
        self._lost_states.labels(stage).inc()

    def inserted(self, table: str, rows: int, duration_s: float, at_s: float) -> None:
        """Record an insert that succeeded at Unix time ``at_s``."""
        self._rows.labels(table).inc(rows)
        self._insert_rows.labels(table).observe(rows)
        self._insert_s.labels(table).observe(duration_s)
        self._last_insert.labels(table).set(at_s)

    def insert_failed(self, table: str, reason: str) -> None:
        """Count an insert that will be tried again."""
        self._insert_failures.labels(table, reason).inc()
