"""Puts the analyse stage together out of the settings."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from detectors.registry import REGISTRY, make
from detectors.sensitivity import Sensitivities, Sensitivity
from detectors.slo.burn import SloParams
from schemas.topics import TopicName
from streams.analyse.bench import DetectorBench, rules_of
from streams.analyse.learner import LearnRules
from streams.analyse.partition import AnalysePartition, AnalyseRules
from streams.analyse.stage import AnalyseStage, AnalyseTopics
from streams.baselines import BaselineFeed
from streams.clock import Clock
from streams.config import Settings
from streams.metrics import Metrics
from streams.state import Sender, StateStore


def analyse_stage(
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    producer: Sender,
    store: StateStore,
    feed: BaselineFeed,
    count_partitions: Callable[[str], Awaitable[int]],
) -> AnalyseStage:
    """The stage that turns panes into windows, scores and findings."""
    prefix = settings.kafka.topic_prefix
    topics = AnalyseTopics(
        prefix + TopicName.PANES, prefix + TopicName.ROWS, prefix + TopicName.FINDINGS, prefix + TopicName.BASELINES
    )
    return AnalyseStage(
        topics, partition_maker(settings, metrics, clock), store, producer, feed,
        lambda: count_partitions(topics.panes), settings.snapshot_interval_s, metrics, clock,
    )  # fmt: skip


def partition_maker(settings: Settings, metrics: Metrics, clock: Clock) -> Callable[[int], AnalysePartition]:
    """Makes the state of a partition of ``panes``, empty, with all its detectors."""
    rules, params, decision = analyse_rules(settings), detector_params(settings), settings.decision

    def make_partition(number: int) -> AnalysePartition:
        bench = DetectorBench(
            params,
            rules_of(decision.k, decision.m),
            decision.fdr_ratio,
            settings.baseline.sampled_models,
            Sensitivities(Sensitivity(decision.sensitivity), decision.low_sensitivity, decision.high_sensitivity),
            metrics,
            clock,
        )
        return AnalysePartition(number, rules, bench)

    return make_partition


def analyse_rules(settings: Settings) -> AnalyseRules:
    """Sizes and caps, from the settings."""
    learn = settings.baseline
    return AnalyseRules(
        pane_ms=settings.time.pane_s * 1000,
        scopes=settings.caps.scopes,
        categories=settings.caps.categories_per_feature,
        sample_rows=settings.caps.sample_rows,
        learn=LearnRules(
            rows=learn.min_rows,
            panes=learn.min_panes,
            max_rows=learn.max_rows,
            lead_ms=learn.lead_s * 1000,
            days=tuple(sorted(set(learn.learn_days))),
        ),
        objectives=msgspec.convert(detector_params(settings)["slo"], SloParams),
    )


def detector_params(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """What ``detect`` says, and what other sections say about detectors.

    A detector that looks at windows shorter than a pane looks at panes.
    """
    decision, pane_s = settings.decision, settings.time.pane_s
    params: dict[str, Mapping[str, Any]] = dict(settings.detect)
    bad = {"floor_ratio": decision.bad_events_ratio, "min_events": decision.bad_events_min}
    params["bad_input"] = {**bad, **settings.detect.get("bad_input", {})}
    slo = settings.detect.get("slo", {})
    params["slo"] = {**slo, "slos": [*slo.get("slos", ()), *(own.parameters for own in settings.slos)]}
    for kind in REGISTRY:
        given = params.get(kind, {})
        if make(kind, given).window_s < pane_s:
            params[kind] = {**given, "window_s": pane_s}
    return params
