"""All detectors of one partition of ``panes``: a closed window in, rows of scores and findings out."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.decision import SEVERITIES, DecisionBank, Decisions
from detectors.drift.joint import PairDrift
from detectors.drift.pooling import POOLED, WindowPool
from detectors.explain import Segments, contributions, explain
from detectors.fraud.outliers import RowOutliers
from detectors.labels.beside import with_scores
from detectors.protocol import Detector, Role, Scores, WindowBatch
from detectors.references import reference_sample
from detectors.registry import OF_LABELS, REGISTRY, Rule, finding_kind, make, restore
from detectors.sensitivity import Sensitivities, adjusted, factors
from detectors.state import StateError
from schemas.baselines import Baseline
from schemas.findings import Finding
from schemas.rows import RowBatch
from schemas.scopes import INVALID, Family, Scope
from streams.clock import Clock
from streams.metrics import Metrics

log = logging.getLogger(__name__)

_EXEMPLARS: Final = 5
_CHUNK_ROWS: Final = 2_000
_POOL: Final = "#pool."
_NUMERIC_AT_PANES: Final = frozenset({Role.LATENCY, Role.GAUGE})


def rules_of(k: int, m: int) -> dict[str, Rule]:
    """The registry's rules, with the configured k of m in those that keep the default."""
    usual = Rule()
    return {
        kind: replace(spec.rule, k=k, m=m, clear_below=min(spec.rule.clear_below, k))
        for kind, spec in REGISTRY.items()
        if (spec.rule.k, spec.rule.m) == (usual.k, usual.m)
    }


def is_sampled(scope: Scope, patterns: Iterable[str]) -> bool:
    """Whether a scope's rows are compared with its reference sample: wholes of the models that the patterns name."""
    if scope.family is not Family.PREDICTION or scope.segment:
        return False
    return any(fnmatchcase(scope.model, pattern) for pattern in patterns)


@contextmanager
def _afresh(part: str) -> Iterator[None]:
    """An upgrade must not end in a stage that cannot start: what was learned is lost, and said to be."""
    try:
        yield
    except StateError as error:
        log.warning("the saved state of %s is left out, and what it had learned with it: %s", part, error)


class DetectorBench:
    """Every registered detector, and the bank of decisions behind them.

    Parameters
    ----------
    params
        Detector kind → parameters, for those that should not keep their defaults.
    rules, false_discovery_ratio
        See :class:`~detectors.decision.DecisionBank`.
    sampled_models
        Patterns of the models whose rows are watched for outliers (``*fraud*``).
    sensitivities
        How much it takes before something is said about a scope.
    metrics, clock
        Told what each step cost.
    """

    def __init__(
        self, params: Mapping[str, Any], rules: Mapping[str, Rule], false_discovery_ratio: float,
        sampled_models: tuple[str, ...], sensitivities: Sensitivities, metrics: Metrics, clock: Clock,
    ) -> None:  # fmt: skip
        self._params = params
        self._sensitivities = sensitivities
        self._rules, self._ratio = rules, false_discovery_ratio
        self._sampled_models = sampled_models
        self._metrics, self._clock = metrics, clock
        self._detectors: dict[str, Detector] = {kind: make(kind, params.get(kind)) for kind in REGISTRY}
        self._decisions = DecisionBank(rules, false_discovery_ratio)
        self._pools = {_size_ms(self._detectors[kind]): WindowPool(self._enough) for kind in POOLED}
        self.sizes_ms = frozenset(_size_ms(detector) for detector in self._detectors.values())
        self.paired_ms = _size_ms(self._detectors["skew"])

    def wants(self, size_ms: int) -> frozenset[Role]:
        """Drift is looked at in minutes: panes are stepped over latencies and gauges alone."""
        return _NUMERIC_AT_PANES if size_ms < 60_000 else frozenset(Role)

    def wants_sample(self, scope: Scope) -> bool:
        """Whether a scope's reference rows are kept for the outlier detector."""
        return is_sampled(scope, self._sampled_models)

    def step(self, batch: WindowBatch, version: int, baseline_ids: list[str]) -> Iterator[RowBatch | Finding]:
        """Score a window with every detector of its size, decide, and say what was found."""
        level = factors(batch.scopes.key, self._sensitivities)
        invalid = np.array([key.model == INVALID for key in batch.scopes.key], bool)
        # Windows with too few events wait for the next ones: for detectors that would be blind to them.
        pool = self._pools.get(batch.size_ms)
        pooled = pool.pool(batch) if pool else batch
        for kind, detector in self._detectors.items():
            if _size_ms(detector) != batch.size_ms or not _concerns(kind, batch.scopes.family[0]):
                continue
            began = self._clock.monotonic_s()
            scores = detector.step(pooled if kind in POOLED else batch)
            if kind != "bad_input" and scores.ready[invalid[scores.scope]].any():
                # What could not be decoded is nobody's traffic.
                scores = replace(scores, ready=scores.ready & ~invalid[scores.scope])
            if not len(scores.series):
                continue
            scores = adjusted(with_scores(scores, batch.served), level)
            decisions = self._decisions.decide(scores, batch.start_ms, batch.size_ms)
            self._metrics.stepped(kind, self._clock.monotonic_s() - began)
            yield from _score_rows(batch, scores, decisions, version, baseline_ids)
            spoken = np.flatnonzero((decisions.firing & scores.ready) | decisions.cleared)
            segments = Segments(scores, batch.scopes.key if len(spoken) else ())
            for place in spoken.tolist():
                yield _finding(batch, scores, decisions, place, baseline_ids, segments)

    def rebase(self, scope: int, baseline: Baseline) -> None:
        """Fit what is fitted on a scope's reference rows, or on how its quantities stand to each other."""
        for detector in self._of_pairs():
            detector.rebase(scope, baseline)
        outliers = self._outliers()
        if not self.wants_sample(baseline.scope):
            return
        chosen = [i for i, n in enumerate(baseline.sample_names) if n == "score" or n.startswith("features.")]
        rows = reference_sample(baseline)[:, chosen] if chosen else np.empty((0, 0))
        outliers.set_reference(scope, [baseline.sample_names[i] for i in chosen], rows)

    def forget(self, scope: int, series: NDArray[np.int64]) -> None:
        """Drop what is known of a scope."""
        for detector in self._detectors.values():
            detector.forget(series)
        for pool in self._pools.values():
            pool.forget(series)
        self._decisions.forget(series)
        self._outliers().drop_reference(scope)
        for pairs in self._of_pairs():
            pairs.drop_reference(scope)

    def to_parts(self) -> dict[str, bytes]:
        """The state of every detector and of the decisions."""
        parts = {kind: detector.to_bytes() for kind, detector in self._detectors.items()}
        parts |= {f"{_POOL}{size}": pool.to_bytes() for size, pool in self._pools.items()}
        return {**parts, "#decisions": self._decisions.to_bytes()}

    def load_parts(self, parts: Mapping[str, bytes]) -> None:
        """Take over a state; what it does not know, or knows in another version's form, begins afresh."""
        for kind in REGISTRY:
            with _afresh(kind):
                if kind in parts:
                    self._detectors[kind] = restore(kind, parts[kind], self._params.get(kind))
        for size in self._pools:
            with _afresh(f"{_POOL}{size}"):
                if f"{_POOL}{size}" in parts:
                    self._pools[size] = WindowPool.from_bytes(parts[f"{_POOL}{size}"], self._enough)
        with _afresh("#decisions"):
            if "#decisions" in parts:
                self._decisions = DecisionBank.from_bytes(parts["#decisions"], self._rules, self._ratio)

    @property
    def _enough(self) -> int:
        """Events that every pooled kind of detector takes."""
        found = (msgspec.convert(self._params.get(kind, {}), REGISTRY[kind].params, strict=False) for kind in POOLED)
        return max(int(getattr(params, "min_rows", 0)) for params in found)

    def _of_pairs(self) -> Iterator[PairDrift]:
        return (detector for detector in self._detectors.values() if isinstance(detector, PairDrift))

    def _outliers(self) -> RowOutliers:
        detector = self._detectors["outliers"]
        assert isinstance(detector, RowOutliers)  # noqa: S101 - the registry says so
        return detector


def _size_ms(detector: Detector) -> int:
    return detector.window_s * 1000


def _concerns(kind: str, family: Family) -> bool:
    """Whether a kind of detector has anything to say about a family."""
    if family is Family.READ or kind == "skew":
        return family is Family.READ and kind == "skew"
    if family is Family.LABEL or kind.startswith("label_"):
        return family is Family.LABEL and kind in OF_LABELS
    return kind == "bad_input" or kind.startswith("gpu_") == (family is Family.GPU)


def _score_rows(
    batch: WindowBatch, scores: Scores, decisions: Decisions, version: int, baseline_ids: list[str]
) -> Iterator[RowBatch]:
    ready = np.flatnonzero(scores.ready)
    threshold = scores.floor if scores.threshold is None else scores.threshold
    for first in range(0, len(ready), _CHUNK_ROWS):
        rows = ready[first : first + _CHUNK_ROWS]
        scopes = scores.scope[rows].tolist()
        keys = [batch.scopes.key[s] for s in scopes]
        count = len(rows)
        floats = (scores.score, scores.value, scores.reference, threshold, scores.noise, scores.p_value)
        yield RowBatch(
            "scores",
            (
                [k.family.value for k in keys],
                [k.model for k in keys],
                [k.model_version for k in keys],
                [k.segment for k in keys],
                [scores.quantity[i] for i in rows.tolist()],
                [scores.detector] * count,
                [batch.size_ms // 1000] * count,
                [batch.start_ms] * count,
                [version] * count,
                *(column[rows].tolist() for column in floats),
                scores.rows[rows].tolist(),
                decisions.firing[rows].tolist(),
                [baseline_ids[s] for s in scopes],
            ),
        )


def _finding(
    batch: WindowBatch, scores: Scores, decisions: Decisions, place: int, baseline_ids: Iterable[str],
    segments: Segments,
) -> Finding:  # fmt: skip
    scope_place = int(scores.scope[place])
    scope = batch.scopes.key[scope_place]
    quantity = scores.quantity[place]
    firing = bool(decisions.firing[place])
    since = int(decisions.since_ms[place]) or batch.start_ms
    threshold = scores.floor if scores.threshold is None else scores.threshold
    who = (scope.family.value, scope.model, scope.model_version, scope.segment)
    identity = (*who, scores.detector, quantity, batch.start_ms, batch.size_ms, firing)
    confidence = float(decisions.confidence[place])
    return Finding(
        id=blake2b("\n".join(map(str, identity)).encode(), digest_size=12).hexdigest(),
        scope=scope,
        kind=finding_kind(scores.detector, quantity),
        detector=scores.detector,
        quantity=quantity,
        window_start_ms=batch.start_ms,
        window_ms=batch.size_ms,
        firing=firing,
        severity=SEVERITIES[int(decisions.severity[place])],
        score=float(scores.score[place]),
        value=float(scores.value[place]),
        baseline=float(scores.reference[place]),
        threshold=float(threshold[place]),
        unit=scores.unit,
        rows=int(scores.rows[place]),
        confidence_ratio=0.0 if np.isnan(confidence) else confidence,
        since_ms=since,
        summary=explain(scores, place, scope, since, segments.ranked(scope, quantity)),
        baseline_id=list(baseline_ids)[scope_place],
        exemplars=_exemplars(batch, scores, place),
        contributions=contributions(scores, scope_place),
        evidence=bool(decisions.evidence[place]),
    )


def _exemplars(batch: WindowBatch, scores: Scores, place: int) -> tuple[str, ...]:
    """Events to look at: the detector's own, or those of the sample that lie furthest the way the quantity went."""
    if scores.exemplars is not None and place in scores.exemplars:
        return scores.exemplars[place][:_EXEMPLARS]
    samples = batch.samples
    scope_place, quantity = int(scores.scope[place]), scores.quantity[place]
    if scope_place not in samples.scope:
        return ()
    at = list(samples.scope).index(scope_place)
    if quantity not in samples.names[at]:
        return ()
    values = samples.values[at][:, samples.names[at].index(quantity)]
    fell = scores.mean is not None and scores.ref_mean is not None and scores.mean[place] < scores.ref_mean[place]
    order = np.argsort(values if fell else -values, kind="stable")  # NaN last, either way
    ids = (samples.event_ids[at][i] for i in order[: 2 * _EXEMPLARS].tolist() if not np.isnan(values[i]))
    return tuple(event_id for event_id in ids if event_id)[:_EXEMPLARS]
