"""The settings tree: one immutable object that holds every knob."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streams.config.baselines import BaselineSettings
from streams.config.sections import (
    AlertSettings,
    CapSettings,
    ClickHouseSettings,
    DecisionSettings,
    HealthSettings,
    KafkaSettings,
    LoggingSettings,
    SegmentSettings,
    TimeSettings,
    TopicSettings,
    WebSettings,
)
from streams.config.slos import SloSettings, distinct

ENV_PREFIX = "HALCYON_"
ENV_DELIMITER = "__"


class Settings(BaseSettings):
    """Every knob of Halcyon.

    ``Settings()`` is the defaults and nothing else: neither files nor the environment are read by constructing it.
    :func:`streams.config.load_settings` does that, once, at the start of a command.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    time: TimeSettings = TimeSettings()
    caps: CapSettings = CapSettings()
    segments: SegmentSettings = SegmentSettings()
    baseline: BaselineSettings = BaselineSettings()
    detect: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Parameters of detectors by kind, `{psi: {floor: 0.1}}`; the others keep their defaults.",
    )
    slos: Annotated[tuple[SloSettings, ...], AfterValidator(distinct)] = Field(
        (), description="Service level objectives, up to 100: a list of what is described [below](#each-of-slos)."
    )
    decision: DecisionSettings = DecisionSettings()
    alerts: AlertSettings = AlertSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    web: WebSettings = WebSettings()
    health: HealthSettings = HealthSettings()
    logging: LoggingSettings = LoggingSettings()
    snapshot_interval_s: float = Field(
        60.0, ge=1, le=3600, description="Event time between two snapshots of the analyse stage's state."
    )
    commit_interval_s: float = Field(1.0, ge=0.05, le=60, description="Wall time between two commits of a stage.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given and nothing else: the loader reads the sources itself, to say where a mistake stands."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)
