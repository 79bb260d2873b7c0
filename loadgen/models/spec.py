"""What a scenario file says about the entities: serving models, feature sets and GPU fleets, as data."""

from typing import Annotated, Literal

import msgspec

from loadgen.distributions import AnyNumeric, Data, Distribution, Names, Positive
from loadgen.traffic import Traffic
from schemas.common import NonNegative, Ratio

Count = Annotated[int, msgspec.Meta(ge=1)]


class Version(Data, frozen=True):
    """One version of a model: its share of the traffic, by weight, among those that are live at the time."""

    name: str
    weight: NonNegative = 1.0
    from_s: float = float("-inf")
    until_s: float = float("inf")


class Correlation(Data, frozen=True):
    """Correlates two features by a Gaussian copula; ``rho`` is of the normals behind them, between -1 and 1."""

    of: tuple[str, str]
    rho: Annotated[float, msgspec.Meta(gt=-1, lt=1)]


class Population(Data, frozen=True):
    """A part of the requests whose features have distributions of their own; the others are as everybody's.

    ``label`` is what their label always is; without one it follows from the score model.
    """

    share_ratio: Ratio
    features: dict[str, Distribution] = msgspec.field(default_factory=dict)
    label: bool | None = None


class Term(Data, frozen=True):
    """One term of a score model.

    A numeric ``feature``, through ``transform``, times ``weight``: ``below`` and ``over`` are 1 where the value is on
    that side of ``at``, else 0. A text feature or a ``segment``: what ``weights`` has for the text, else 0.
    """

    feature: str = ""
    segment: str = ""
    transform: Literal["linear", "log1p", "below", "over"] = "linear"
    at: float = 0.0
    weight: float = 1.0
    weights: dict[str, float] = msgspec.field(default_factory=dict)


class Score(Data, frozen=True):
    """A score that follows from the features: ``intercept`` and terms are the truth, with noise they are the score.

    ``logistic`` scores are probabilities, and labels come true with the probability before the noise. A null counts as
    the mean of its feature.
    """

    kind: Literal["logistic", "linear"] = "logistic"
    intercept: float = 0.0
    terms: tuple[Term, ...] = ()
    noise_sigma: NonNegative = 0.0


class Decisions(Data, frozen=True):
    """What is done on a score: the first decision whose limit the score exceeds, else ``otherwise``."""

    over: dict[str, float]
    otherwise: str


class Latency(Data, frozen=True):
    """Lognormal around a median, a tail, and what the load adds.

    A ``tail_ratio`` of the requests takes ``tail_factor`` times as long. Where the rate is twice the mean, latency is
    1 + ``per_load_ratio`` times the usual.
    """

    median_ms: Positive
    sigma: NonNegative
    tail_ratio: Ratio = 0.0
    tail_factor: Positive = 1.0
    per_load_ratio: NonNegative = 0.0


class Hosts(Data, frozen=True):
    """Where a model runs: ``prefix-0``, ``prefix-1``, …, each a little faster or slower than the others, for good."""

    count: Count
    prefix: str = "host"
    speed_sigma: NonNegative = 0.05
    is_segment: bool = True


class Generation(Data, frozen=True, kw_only=True):
    """A generative model: tokens, and the times and costs that follow from them.

    Output grows with the input's tokens to the power of ``output_exponent``. The first token takes a base and a part
    per input token, each other token ``per_output_token_ms``; the load of the server varies both together by
    ``load_sigma``, the latter alone by ``token_sigma``.
    """

    input_feature: str
    output_tokens: AnyNumeric
    output_exponent: float = 0.0
    first_token_base_ms: NonNegative
    first_token_per_input_ms: NonNegative
    per_output_token_ms: Positive
    load_sigma: NonNegative = 0.2
    token_sigma: NonNegative = 0.12
    usd_per_input_token: NonNegative = 0.0
    usd_per_output_token: NonNegative = 0.0


class Errors(Data, frozen=True):
    """The failures that are always there."""

    ratio: Ratio = 0.002
    status: str = "timeout"


class LabelSpec(Data, frozen=True):
    """When the truth about predictions becomes known.

    The predictions of one second become known together, after a delay that is lognormal around its median and at
    most ``delay_max_s``; ``share_ratio`` of the predictions ever get a label.
    """

    delay_median_s: Positive
    delay_sigma: NonNegative = 0.3
    delay_max_s: Positive = 3600.0
    share_ratio: Ratio = 1.0


class Model(Data, frozen=True):
    """A serving model."""

    name: str
    traffic: Traffic
    versions: tuple[Version, ...] = (Version(name="1"),)
    segments: dict[str, Names] = msgspec.field(default_factory=dict)
    features: dict[str, Distribution] = msgspec.field(default_factory=dict)
    correlations: tuple[Correlation, ...] = ()
    populations: dict[str, Population] = msgspec.field(default_factory=dict)
    hosts: Hosts | None = None
    score: Score | None = None
    decisions: Decisions | None = None
    latency: Latency | None = None
    generation: Generation | None = None
    errors: Errors = Errors()
    labels: LabelSpec | None = None


class FeatureSet(Data, frozen=True):
    """What a feature store serves: values, and how old they are (lognormal around a median).

    Either ``traffic`` and ``values`` of its own, or ``serves``: features of the model, of which every request reads
    what they are, whatever the model is then given.
    """

    name: str
    model: str
    traffic: Traffic | None = None
    values: dict[str, Distribution] = msgspec.field(default_factory=dict)
    serves: tuple[str, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    age_median_s: Positive = 60.0
    age_sigma: NonNegative = 0.5
    entities: Count = 10_000


class Fleet(Data, frozen=True):
    """GPUs that serve a model: their load follows its traffic.

    Attributes
    ----------
    name
        Of the hosts: ``name-0``, ``name-1``, …
    model
        The model they serve; its predictions name these hosts and GPUs.
    full_load_per_s
        The model's rate at which all GPUs are busy.
    idle_power_w, power_limit_w, idle_temperature_c, full_temperature_c
        At no load and at full load.
    memory_used_ratio
        What the server holds, of ``memory_total_bytes``.
    sample_every_s
        How often each GPU is sampled.
    """

    name: str
    model: str
    hosts: Count
    gpus_per_host: Count
    full_load_per_s: Positive
    gpu_name: str = "NVIDIA H100 80GB HBM3"
    memory_total_bytes: Positive = 85_899_345_920.0
    memory_used_ratio: Ratio = 0.8
    idle_power_w: NonNegative = 75.0
    power_limit_w: Positive = 700.0
    idle_temperature_c: float = 32.0
    full_temperature_c: float = 74.0
    sm_clock_max_hz: Positive = 1.98e9
    sample_every_s: Count = 10
