"""Findings: what a detector saw, decided but not yet routed. Internal, msgpack behind a schema version byte."""

from enum import StrEnum
from typing import Final

import msgspec

from schemas.scopes import Scope
from schemas.versioned import Versioned

VERSION: Final = 1


class Kind(StrEnum):
    """What went wrong, in the words of those who are paged."""

    DRIFT = "drift"
    CATEGORY_DRIFT = "category_drift"
    SCORE_DRIFT = "score_drift"
    CHANGE = "change"
    NULLS = "nulls"
    VOLUME = "volume"
    ERRORS = "errors"
    LATENCY = "latency"
    LATENCY_SLO = "latency_slo"
    SLO_BURN = "slo_burn"
    SLOW_HOST = "slow_host"
    OUTLIERS = "outliers"
    BAD_INPUT = "bad_input"
    SCHEMA = "schema"
    FRESHNESS = "freshness"
    SKEW = "skew"
    DUPLICATES = "duplicates"
    CONCEPT_DRIFT = "concept_drift"
    CALIBRATION = "calibration"
    LABEL_DELAY = "label_delay"
    GPU_TEMPERATURE = "gpu_temperature"
    GPU_THROTTLE = "gpu_throttle"
    GPU_MEMORY = "gpu_memory"
    GPU_XID = "gpu_xid"
    GPU_ECC = "gpu_ecc"
    GPU_IDLE = "gpu_idle"
    GPU_SLOW = "gpu_slow"


class Severity(StrEnum):
    """How loudly to say it. A detector proposes; the alert stage decides."""

    PAGE = "critical"
    TICKET = "warning"
    INFO = "info"


class Contribution(msgspec.Struct, frozen=True):
    """One feature's or segment's share in a finding, 0…1, largest first."""

    name: str
    share_ratio: float


class Finding(msgspec.Struct, frozen=True, tag="finding"):
    """One detector's verdict about one quantity of one scope in one closed window.

    While a condition holds there is one finding per window with ``firing`` true; when it has ended, one with ``firing``
    false. ``id`` is the same in every replay. ``value``, ``baseline`` and ``threshold`` are in the quantity's own unit
    or the detector's, as ``unit`` says; ``rows`` is how many events stand behind the value; ``score`` is higher for
    worse; ``confidence_ratio`` is 0…1. ``evidence`` is false where this window itself is within its limit again, and
    the condition holds because of those before it.
    """

    id: str
    scope: Scope
    kind: Kind
    detector: str
    quantity: str
    window_start_ms: int
    window_ms: int
    firing: bool
    severity: Severity
    score: float
    value: float
    baseline: float
    threshold: float
    unit: str
    rows: int
    confidence_ratio: float
    since_ms: int
    summary: str
    baseline_id: str = ""
    exemplars: tuple[str, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    evidence: bool = True


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Event time through which a family's panes of a partition are analysed: it resolves alerts without a clock."""

    source_partition: int
    through_ms: int
    family: str = ""


FindingMessage = Finding | Progress

_codec: Versioned[FindingMessage] = Versioned(FindingMessage, VERSION, "finding")
encode = _codec.encode
decode = _codec.decode
