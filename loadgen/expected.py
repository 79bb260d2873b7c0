"""What each kind of injection should lead to: which alerts, how loud, and what else it explains.

Written down from what an on-call engineer would want to hear, not from what is found today.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from loadgen.truth import Expectation
from schemas.findings import Kind


class InjectionKind(StrEnum):
    """Kinds of faults, and of near misses; by them scores are gathered."""

    FEATURE_DRIFT_SUDDEN = "feature_drift_sudden"
    FEATURE_DRIFT_GRADUAL = "feature_drift_gradual"
    FEATURE_DRIFT_RECURRING = "feature_drift_recurring"
    FEATURE_DRIFT_SEGMENT = "feature_drift_segment"
    CONCEPT_DRIFT = "concept_drift"
    NEW_CATEGORY = "new_category"
    NULL_BURST = "null_burst"
    SCHEMA_FIELD_APPEARS = "schema_field_appears"
    SCHEMA_FIELD_DISAPPEARS = "schema_field_disappears"
    SCHEMA_TYPE_FLIPS = "schema_type_flips"
    STALE_FEATURES = "stale_features"
    FEATURE_SKEW = "feature_skew"
    VOLUME_DROP = "volume_drop"
    VOLUME_SPIKE = "volume_spike"
    DUPLICATE_STORM = "duplicate_storm"
    LATENCY_SHIFT = "latency_shift"
    LATENCY_TAIL = "latency_tail"
    LATENCY_HOST = "latency_host"
    ERROR_BURST = "error_burst"
    CANARY_WORSE = "canary_worse"
    FRAUD_ATTACK = "fraud_attack"
    SCORE_COLLAPSE = "score_collapse"
    CALIBRATION_DRIFT = "calibration_drift"
    POISONING = "poisoning"
    LABEL_DELAY = "label_delay"
    GPU_THERMAL_THROTTLE = "gpu_thermal_throttle"
    GPU_XID = "gpu_xid"
    GPU_ECC = "gpu_ecc"
    GPU_MEMORY_LEAK = "gpu_memory_leak"
    GPU_IDLE_WASTE = "gpu_idle_waste"
    GPU_SLOW = "gpu_slow"
    PROMOTION_DAY = "promotion_day"
    DAILY_PEAK = "daily_peak"
    DEPLOY_WARMUP = "deploy_warmup"
    SMALL_SAMPLE_NOISE = "small_sample_noise"
    SLOW_SEASON = "slow_season"
    FEATURE_ROUNDED = "feature_rounded"
    FEATURE_CACHED = "feature_cached"


@dataclass(frozen=True, slots=True)
class Expected:
    """What should follow; see :class:`loadgen.truth.Truth`."""

    kinds: tuple[Kind, ...]
    collateral: tuple[Kind, ...] = ()
    severity: Literal["page", "ticket", "info"] = "ticket"
    expectation: Expectation = Expectation.MUST


# What moves a feature moves the score and the look of the rows too.
_FOLLOWS_DRIFT: Final = (Kind.SCORE_DRIFT, Kind.CATEGORY_DRIFT, Kind.OUTLIERS, Kind.CHANGE)
_DRIFT: Final = Expected((Kind.DRIFT,), _FOLLOWS_DRIFT)
_SCHEMA: Final = Expected((Kind.SCHEMA, Kind.NULLS), (Kind.DRIFT, *_FOLLOWS_DRIFT))
_SLOW: Final = Expected(
    (Kind.LATENCY, Kind.LATENCY_SLO, Kind.SLO_BURN), (Kind.SLOW_HOST, Kind.CHANGE, Kind.DRIFT), "page"
)
_NEAR_MISS: Final = Expected((), (), "info", Expectation.MUST_NOT)

EXPECTED: Final[dict[InjectionKind, Expected]] = {
    InjectionKind.FEATURE_DRIFT_SUDDEN: _DRIFT,
    InjectionKind.FEATURE_DRIFT_GRADUAL: _DRIFT,
    InjectionKind.FEATURE_DRIFT_RECURRING: _DRIFT,
    InjectionKind.FEATURE_DRIFT_SEGMENT: _DRIFT,
    InjectionKind.CONCEPT_DRIFT: Expected((Kind.CONCEPT_DRIFT,), (Kind.CALIBRATION,)),
    InjectionKind.NEW_CATEGORY: Expected((Kind.CATEGORY_DRIFT, Kind.SCHEMA), (Kind.DRIFT, *_FOLLOWS_DRIFT)),
    InjectionKind.NULL_BURST: Expected((Kind.NULLS,), (Kind.DRIFT, *_FOLLOWS_DRIFT)),
    InjectionKind.SCHEMA_FIELD_APPEARS: Expected(
        (Kind.SCHEMA,), _FOLLOWS_DRIFT, severity="info", expectation=Expectation.MAY
    ),
    InjectionKind.SCHEMA_FIELD_DISAPPEARS: _SCHEMA,
    InjectionKind.SCHEMA_TYPE_FLIPS: _SCHEMA,
    InjectionKind.STALE_FEATURES: Expected((Kind.FRESHNESS,), (Kind.DRIFT, Kind.CHANGE)),
    InjectionKind.FEATURE_SKEW: Expected((Kind.SKEW,), (Kind.DRIFT, *_FOLLOWS_DRIFT)),
    InjectionKind.VOLUME_DROP: Expected((Kind.VOLUME,), (Kind.CHANGE,)),
    InjectionKind.VOLUME_SPIKE: Expected((Kind.VOLUME,), (Kind.CHANGE, Kind.LATENCY)),
    InjectionKind.DUPLICATE_STORM: Expected((Kind.DUPLICATES,), (Kind.VOLUME, Kind.CHANGE)),
    InjectionKind.LATENCY_SHIFT: _SLOW,
    InjectionKind.LATENCY_TAIL: _SLOW,
    InjectionKind.LATENCY_HOST: Expected(
        (Kind.SLOW_HOST, Kind.LATENCY, Kind.LATENCY_SLO), (Kind.SLO_BURN, Kind.CHANGE, Kind.DRIFT)
    ),
    InjectionKind.ERROR_BURST: Expected((Kind.ERRORS, Kind.SLO_BURN), (Kind.CHANGE, Kind.VOLUME), "page"),
    InjectionKind.CANARY_WORSE: Expected((Kind.ERRORS, Kind.LATENCY, Kind.SCORE_DRIFT), (Kind.CHANGE, Kind.DRIFT)),
    InjectionKind.FRAUD_ATTACK: Expected((Kind.OUTLIERS,), (Kind.DRIFT, *_FOLLOWS_DRIFT, Kind.CONCEPT_DRIFT), "page"),
    InjectionKind.SCORE_COLLAPSE: Expected(
        (Kind.SCORE_DRIFT,), (Kind.CHANGE, Kind.CATEGORY_DRIFT, Kind.CALIBRATION), "page"
    ),
    InjectionKind.CALIBRATION_DRIFT: Expected(
        (Kind.CALIBRATION, Kind.SCORE_DRIFT), (Kind.CHANGE, Kind.CATEGORY_DRIFT, Kind.CONCEPT_DRIFT)
    ),
    InjectionKind.POISONING: Expected(
        (Kind.CONCEPT_DRIFT, Kind.OUTLIERS), (Kind.DRIFT, Kind.CALIBRATION, *_FOLLOWS_DRIFT)
    ),
    InjectionKind.LABEL_DELAY: Expected((Kind.LABEL_DELAY,), (Kind.CONCEPT_DRIFT, Kind.CALIBRATION)),
    InjectionKind.GPU_THERMAL_THROTTLE: Expected(
        (Kind.GPU_THROTTLE, Kind.GPU_TEMPERATURE), (Kind.GPU_SLOW, Kind.CHANGE)
    ),
    InjectionKind.GPU_XID: Expected((Kind.GPU_XID,), severity="page"),
    InjectionKind.GPU_ECC: Expected((Kind.GPU_ECC,)),
    InjectionKind.GPU_MEMORY_LEAK: Expected((Kind.GPU_MEMORY,), (Kind.CHANGE,)),
    InjectionKind.GPU_IDLE_WASTE: Expected((Kind.GPU_IDLE,), (Kind.CHANGE,)),
    InjectionKind.GPU_SLOW: Expected((Kind.GPU_SLOW,), (Kind.CHANGE,)),
    InjectionKind.PROMOTION_DAY: _NEAR_MISS,
    InjectionKind.DAILY_PEAK: _NEAR_MISS,
    InjectionKind.DEPLOY_WARMUP: _NEAR_MISS,
    InjectionKind.SMALL_SAMPLE_NOISE: _NEAR_MISS,
    InjectionKind.SLOW_SEASON: _NEAR_MISS,
    InjectionKind.FEATURE_ROUNDED: _NEAR_MISS,
    InjectionKind.FEATURE_CACHED: _NEAR_MISS,
}
