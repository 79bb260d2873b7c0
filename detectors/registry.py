"""All detectors: what each is called, what it takes, what it finds, and when that is said how loudly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from detectors.drift.adwin import AdwinChange, AdwinParams
from detectors.drift.association import AssociationParams, ScoreAssociation
from detectors.drift.categories import CategoryDrift, CategoryDriftParams
from detectors.drift.collapse import CollapseParams, ScoreCollapse
from detectors.drift.kolmogorov import KolmogorovParams, KolmogorovSmirnov
from detectors.drift.martingale import MartingaleParams, RankMartingale
from detectors.drift.multivariate import MultivariateDrift, MultivariateParams
from detectors.drift.novelty import Cardinality, CardinalityParams, NewCategory, NewCategoryParams
from detectors.drift.psi import PopulationStability, PsiParams
from detectors.drift.score_mean import ScoreMean, ScoreMeanParams
from detectors.drift.wasserstein import WassersteinDrift, WassersteinParams
from detectors.fraud.crowd import CrowdParams, FeatureCrowd
from detectors.fraud.outliers import OutlierParams, RowOutliers
from detectors.gpu.ecc import EccParams, GpuEcc
from detectors.gpu.ecc_rate import CorrectedEcc, EccRateParams
from detectors.gpu.idle import GpuIdle, IdleParams
from detectors.gpu.leak import GpuLeak, LeakParams
from detectors.gpu.memory import GpuMemory, GpuMemoryParams
from detectors.gpu.slow import SlowGpu, SlowGpuParams
from detectors.gpu.temperature import GpuTemperature, TemperatureParams
from detectors.gpu.throttle import GpuThrottle, ThrottleParams
from detectors.gpu.xid import CRITICAL_WEIGHT, GpuXid, XidParams
from detectors.labels.delay import LabelDelay, LabelDelayParams
from detectors.labels.rate import LabelRate, LabelRateParams
from detectors.latency.hosts import HostParams, SlowHost
from detectors.latency.modes import LatencyModes, ModeParams
from detectors.latency.quantiles import LatencyParams, LatencyQuantiles
from detectors.latency.tail import LatencyTail, TailParams
from detectors.latency.threshold import LatencyLimitParams, LatencyOverLimit
from detectors.parameters import ParameterError
from detectors.protocol import Bools, Detector, Scores
from detectors.quality.bad_input import BadInput, BadInputParams
from detectors.quality.duplicates import DuplicateParams, Duplicates
from detectors.quality.errors import ErrorParams, ErrorRatio
from detectors.quality.freshness import Freshness, FreshnessParams
from detectors.quality.frozen import FrozenFeature, FrozenParams
from detectors.quality.nulls import NullParams, NullRatio
from detectors.quality.range import OutOfRange, RangeParams
from detectors.quality.shape import NewField, NewFieldParams, SchemaChange, SchemaParams
from detectors.quality.skew import FeatureSkew, SkewParams
from detectors.quality.versions import VersionErrors, VersionParams
from detectors.quality.volume import VolumeChange, VolumeParams
from detectors.slo.burn import SloBurn, SloParams
from detectors.slo.objectives import PAGES
from schemas.findings import Kind, Severity
from schemas.labels import LABEL


@dataclass(frozen=True, slots=True)
class Rule:
    """When evidence becomes a finding, and when a finding pages.

    It fires at ``k`` of the last ``m`` ready windows and ends below ``clear_below`` of them. ``full`` of them make it
    as strong as it gets (None: ``m``): fewer for a detector that has gathered its evidence itself.

    Where ``urgent_when`` holds it fires at ``urgent_k`` of ``urgent_m`` already. It is of ``severity``, and a page
    where ``page_when`` holds and the strength reaches ``page_strength_ratio``: what hurts users, and nothing that can
    wait for the morning. ``lasting_k`` of the last ``lasting_m`` ready windows that are felt (`Scores.felt`) make it a
    page as well, however strong each of them is; 0: none do. What is ``certain`` is over a limit that somebody has set,
    and no estimate of anything: its confidence is 1, however often the series has come near the limit before.
    """

    k: int = 3
    m: int = 5
    clear_below: int = 2
    full: int | None = None
    severity: Severity = Severity.TICKET
    page_when: Callable[[Scores], Bools] | None = None
    page_strength_ratio: float = 1.0
    urgent_when: Callable[[Scores], Bools] | None = None
    urgent_k: int = 2
    urgent_m: int = 3
    lasting_k: int = 0
    lasting_m: int = 1
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """One kind of detector: its class, the type of its parameters, what it finds, and the rule for saying so."""

    detector: Any
    params: type[msgspec.Struct]
    finding: Kind
    rule: Rule


def _always(scores: Scores) -> Bools:
    return scores.ready


def _no_events(scores: Scores) -> Bools:
    return np.asarray(scores.value == 0, np.bool_)


def _tail(scores: Scores) -> Bools:
    return scores.ready & np.array([label in ("p95", "p99") for label in scores.label or ()], np.bool_)


def _burns_fast(scores: Scores) -> Bools:
    return scores.ready & np.array([label in PAGES for label in scores.label or ()], np.bool_)


def _critical(scores: Scores) -> Bools:
    return np.asarray(scores.score >= CRITICAL_WEIGHT, np.bool_)


_AT_ONCE: Final = Rule(k=1, m=1, clear_below=1, certain=True)

REGISTRY: Final[dict[str, Spec]] = {
    "psi": Spec(PopulationStability, PsiParams, Kind.DRIFT, Rule()),
    "wasserstein": Spec(WassersteinDrift, WassersteinParams, Kind.DRIFT, Rule()),
    "kolmogorov": Spec(KolmogorovSmirnov, KolmogorovParams, Kind.DRIFT, Rule()),
    "collapse": Spec(ScoreCollapse, CollapseParams, Kind.SCORE_DRIFT, Rule(lasting_k=4, lasting_m=5)),
    "score_mean": Spec(ScoreMean, ScoreMeanParams, Kind.SCORE_DRIFT, Rule()),
    "martingale": Spec(RankMartingale, MartingaleParams, Kind.DRIFT, Rule(k=1, m=4, clear_below=1, full=1)),
    "categories": Spec(CategoryDrift, CategoryDriftParams, Kind.CATEGORY_DRIFT, Rule()),
    "new_category": Spec(NewCategory, NewCategoryParams, Kind.CATEGORY_DRIFT, Rule()),
    "cardinality": Spec(Cardinality, CardinalityParams, Kind.CATEGORY_DRIFT, Rule()),
    "multivariate": Spec(MultivariateDrift, MultivariateParams, Kind.DRIFT, Rule()),
    "association": Spec(ScoreAssociation, AssociationParams, Kind.CONCEPT_DRIFT, Rule()),
    "adwin": Spec(AdwinChange, AdwinParams, Kind.CHANGE, Rule(k=1, m=1, clear_below=1, severity=Severity.INFO)),
    "nulls": Spec(NullRatio, NullParams, Kind.NULLS, Rule()),
    "volume": Spec(
        VolumeChange,
        VolumeParams,
        Kind.VOLUME,
        Rule(page_when=_no_events, page_strength_ratio=0.6, urgent_when=_no_events),
    ),
    "errors": Spec(ErrorRatio, ErrorParams, Kind.ERRORS, Rule(page_when=_always, page_strength_ratio=0.7)),
    "versions": Spec(VersionErrors, VersionParams, Kind.ERRORS, Rule(k=1, m=4, clear_below=1, full=1)),
    "schema": Spec(SchemaChange, SchemaParams, Kind.SCHEMA, Rule()),
    "new_field": Spec(NewField, NewFieldParams, Kind.SCHEMA, Rule(severity=Severity.INFO)),
    "range": Spec(OutOfRange, RangeParams, Kind.DRIFT, Rule()),
    "duplicates": Spec(Duplicates, DuplicateParams, Kind.DUPLICATES, Rule()),
    "freshness": Spec(Freshness, FreshnessParams, Kind.FRESHNESS, Rule()),
    "frozen": Spec(FrozenFeature, FrozenParams, Kind.FRESHNESS, Rule()),
    "skew": Spec(FeatureSkew, SkewParams, Kind.SKEW, Rule(k=2, m=3, clear_below=1, full=2)),
    "bad_input": Spec(BadInput, BadInputParams, Kind.BAD_INPUT, _AT_ONCE),
    "latency": Spec(
        LatencyQuantiles,
        LatencyParams,
        Kind.LATENCY,
        # A doubled tail at once; a typical request that takes half as long again after five minutes.
        Rule(page_when=_tail, page_strength_ratio=0.8, lasting_k=20, lasting_m=30),
    ),
    "latency_limit": Spec(
        LatencyOverLimit,
        LatencyLimitParams,
        Kind.LATENCY_SLO,
        Rule(k=1, m=1, clear_below=1, page_when=_always, page_strength_ratio=0.5, certain=True),
    ),
    "latency_tail": Spec(LatencyTail, TailParams, Kind.LATENCY, Rule()),
    "latency_modes": Spec(LatencyModes, ModeParams, Kind.LATENCY, Rule()),
    "latency_hosts": Spec(SlowHost, HostParams, Kind.SLOW_HOST, Rule()),
    "slo": Spec(
        SloBurn,
        SloParams,
        Kind.SLO_BURN,
        Rule(k=1, m=1, clear_below=1, page_when=_burns_fast, page_strength_ratio=0.5, certain=True),
    ),
    "outliers": Spec(RowOutliers, OutlierParams, Kind.OUTLIERS, Rule()),
    "crowd": Spec(FeatureCrowd, CrowdParams, Kind.OUTLIERS, Rule()),
    "label_rate": Spec(LabelRate, LabelRateParams, Kind.CONCEPT_DRIFT, Rule(k=1, m=4, clear_below=1, full=1)),
    "label_delay": Spec(LabelDelay, LabelDelayParams, Kind.LABEL_DELAY, Rule(k=1, m=1, clear_below=1)),
    "gpu_temperature": Spec(GpuTemperature, TemperatureParams, Kind.GPU_TEMPERATURE, _AT_ONCE),
    "gpu_throttle": Spec(GpuThrottle, ThrottleParams, Kind.GPU_THROTTLE, Rule(certain=True)),
    "gpu_memory": Spec(GpuMemory, GpuMemoryParams, Kind.GPU_MEMORY, Rule(severity=Severity.INFO, certain=True)),
    "gpu_xid": Spec(
        GpuXid,
        XidParams,
        Kind.GPU_XID,
        Rule(k=1, m=1, clear_below=1, page_when=_critical, page_strength_ratio=0.5, certain=True),
    ),
    "gpu_ecc": Spec(GpuEcc, EccParams, Kind.GPU_ECC, _AT_ONCE),
    "gpu_ecc_rate": Spec(CorrectedEcc, EccRateParams, Kind.GPU_ECC, Rule()),
    "gpu_idle": Spec(GpuIdle, IdleParams, Kind.GPU_IDLE, _AT_ONCE),
    "gpu_leak": Spec(GpuLeak, LeakParams, Kind.GPU_MEMORY, Rule(k=2, m=3, clear_below=1, full=2)),
    "gpu_slow": Spec(SlowGpu, SlowGpuParams, Kind.GPU_SLOW, Rule()),
}

OF_LABELS: Final = frozenset(
    {"label_delay", "label_rate", "psi", "wasserstein", "kolmogorov", "martingale", "categories", "new_category"}
    | {"bad_input"}
)
"""Kinds that look at labels. Their volume comes in files and on weekdays, and nobody waits for a single one."""

PARAMS: Final[dict[str, type[msgspec.Struct]]] = {kind: spec.params for kind, spec in REGISTRY.items()}
"""Detector kind → the type of its parameters."""


def make(kind: str, params: Mapping[str, object] | msgspec.Struct | None = None) -> Detector:
    """A new detector.

    Parameters
    ----------
    kind
        A key of :data:`REGISTRY`.
    params
        Its parameters, as their type or as a mapping; None for the defaults.

    Raises
    ------
    ParameterError
        If the kind or a parameter is unknown, of the wrong type or out of bounds.
    """
    spec = _spec(kind)
    detector: Detector = spec.detector(_params(kind, spec, params))
    return detector


def restore(kind: str, raw: bytes, params: Mapping[str, object] | msgspec.Struct | None = None) -> Detector:
    """The detector that continues where ``to_bytes`` gave ``raw``; raises StateError where it cannot, see `make`."""
    spec = _spec(kind)
    detector: Detector = spec.detector.from_bytes(raw, _params(kind, spec, params))
    return detector


def finding_kind(detector: str, quantity: str) -> Kind:
    """What a detector's finding about a quantity is called: drift of scores, or of labels, is not drift of features."""
    kind = REGISTRY[detector].finding
    if quantity == LABEL and kind in {Kind.DRIFT, Kind.CATEGORY_DRIFT}:
        return Kind.CONCEPT_DRIFT
    return Kind.SCORE_DRIFT if kind is Kind.DRIFT and quantity == "score" else kind


def _spec(kind: str) -> Spec:
    if kind not in REGISTRY:
        raise ParameterError(f"no detector {kind!r}: give one of {', '.join(sorted(REGISTRY))}")
    return REGISTRY[kind]


def _params(kind: str, spec: Spec, params: Mapping[str, object] | msgspec.Struct | None) -> msgspec.Struct:
    try:
        return msgspec.convert({} if params is None else params, spec.params)
    except (msgspec.ValidationError, ParameterError) as error:
        raise ParameterError(f"detector {kind!r}: {error}") from error
