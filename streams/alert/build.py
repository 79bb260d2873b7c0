"""Puts the alert stage together out of the settings."""

from streams.alert.feeds import KafkaAlertLog, KafkaControlFeed
from streams.alert.policy import AlertPolicy
from streams.alert.stage import AlertStage, AlertTopics
from streams.broker import PATIENCE_S
from streams.clock import Clock
from streams.config import AlertSettings, Settings
from streams.connections import reader_config
from streams.metrics import Metrics
from streams.state import Sender, StateStore
from streams.waits import Waits

CONTROL = "control"


def alert_policy(settings: AlertSettings) -> AlertPolicy:
    """The knobs of an alert's life, from the settings."""
    return AlertPolicy(
        page_confidence_ratio=settings.page_confidence_ratio,
        resolve_after_ms=int(settings.resolve_after_s * 1000),
        flap_window_ms=int(settings.flap_window_s * 1000),
        update_after_ms=int(settings.update_after_s * 1000),
        repeat_after_ms=int(settings.repeat_after_s * 1000),
        inhibit_after_ms=int(settings.inhibit_after_s * 1000),
        max_alerts=settings.max_alerts,
        attack_models=settings.attack_models,
        runbook_url=settings.runbook_url,
    )


def alert_stage(
    settings: Settings, clock: Clock, metrics: Metrics, sender: Sender, states: StateStore, waits: Waits
) -> AlertStage:
    """The stage that turns findings into alerts.

    Parameters
    ----------
    settings
        ``alerts`` and ``kafka`` are read.
    clock, metrics
        Shared with the other stages of the process.
    sender
        An idempotent producer that waits for all replicas; ``streams.producer.Producer``.
    states
        Where snapshots are kept.
    waits
        Told while the brokers are asked.
    """
    prefix = settings.kafka.topic_prefix
    config = reader_config(settings.kafka, AlertStage.name)
    topics = AlertTopics(f"{prefix}findings", f"{prefix}alerts", f"{prefix}rows", f"{prefix}dead-letters")
    return AlertStage(
        alert_policy(settings.alerts),
        topics,
        sender=sender,
        states=states,
        alert_log=KafkaAlertLog(config, topics.alerts, topics.findings, PATIENCE_S, waits),
        control=KafkaControlFeed(config, f"{prefix}{CONTROL}", PATIENCE_S, waits),
        clock=clock,
        metrics=metrics,
    )
