"""The sections of the settings tree. Every knob has a default, bounds, a meaning, and its unit in its name."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from streams.config.credentials import PemFile, SecretFile, one_of, secret, tls_context


def _without_user(value: object) -> object:
    """Refuse an address that names a user: it is shown in logs and errors, and its password with it."""
    if isinstance(value, str) and "@" in value:
        raise ValueError("a user and a password have knobs of their own and must not stand in the address")
    return value


def split_commas(value: object) -> object:
    """Let the environment give a list as ``a,b``; files give real lists."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Address = Annotated[str, BeforeValidator(_without_user)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_commas)]


class Section(BaseModel):
    """What all sections share: immutable, and no knob that is not declared."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class KafkaSettings(Section):
    """How brokers are reached."""

    bootstrap_servers: Address = Field(
        "127.0.0.1:9092", min_length=1, description="Brokers to start from, `host:port`, comma-separated."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Whether connections are encrypted (`…SSL`) and begin with a log-in (`SASL_…`)."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the password is proved; `PLAIN` sends it as it is."
    )
    sasl_username: str = Field("", max_length=255, description="Who logs in.")
    sasl_password: SecretStr = Field(SecretStr(""), description="Password; give it in the environment, not in a file.")
    sasl_password_file: SecretFile = Field("", description="File that holds the password and nothing else.")
    ssl_ca_file: PemFile = Field(
        "", description="Authorities that the brokers' certificates must come from, PEM; by default the system's."
    )
    ssl_cert_file: PemFile = Field("", description="This client's certificate, PEM, where brokers ask for one.")
    ssl_key_file: PemFile = Field("", description="The key of `ssl_cert_file`, PEM.")
    ssl_key_password: SecretStr = Field(SecretStr(""), description="Opens `ssl_key_file` where it is encrypted.")
    ssl_key_password_file: SecretFile = Field("", description="File that holds `ssl_key_password` and nothing else.")
    ssl_check_hostname: bool = Field(
        True, description="Whether a broker's certificate must be for the name it is reached by."
    )
    client_id: str = Field(
        "halcyon",
        min_length=1,
        max_length=120,
        description="Name of this client in the brokers' logs and the prefix of all consumer groups.",
    )
    topic_prefix: str = Field(
        "",
        max_length=80,
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="Put before every topic and group name: several installations can share brokers.",
    )
    source_prefix: str | None = Field(
        None,
        max_length=80,
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="Put before `predictions`, `features` and `gpu-telemetry` instead of `topic_prefix`: a second "
        "installation reads what the first one does, and does not create them.",
    )
    request_timeout_s: float = Field(30.0, ge=1, le=300, description="How long a broker may take to answer a request.")
    session_timeout_s: float = Field(
        10.0, ge=6, le=300, description="Partitions of a worker that is silent for so long go to others."
    )
    fetch_max_bytes: int = Field(
        16_777_216, ge=65_536, le=1_073_741_824, description="Most that one fetch brings, as sent over the wire."
    )
    max_partition_fetch_bytes: int = Field(
        1_048_576, ge=65_536, le=1_073_741_824, description="Most that one fetch brings of one partition."
    )
    max_batch_bytes: int = Field(
        67_108_864,
        ge=1_048_576,
        le=1_073_741_824,
        description="What a compressed batch of records may become; a larger one goes to the dead letters as it is.",
    )
    fetch_max_wait_ms: int = Field(
        250, ge=1, le=10_000, description="How long a broker holds a fetch that has nothing."
    )
    buffer_bytes: int = Field(
        33_554_432,
        ge=1_048_576,
        le=4_294_967_296,
        description="Records read and not processed; reading waits above it.",
    )

    @property
    def encrypted(self) -> bool:
        """Whether connections are TLS."""
        return self.security_protocol.endswith("SSL")

    @property
    def logs_in(self) -> bool:
        """Whether connections begin with user and password."""
        return self.security_protocol.startswith("SASL")

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> Self:
        one_of("sasl_password", self.sasl_password, self.sasl_password_file)
        one_of("ssl_key_password", self.ssl_key_password, self.ssl_key_password_file)
        if self.logs_in and not self.sasl_username:
            msg = f"security_protocol {self.security_protocol} needs sasl_username"
            raise ValueError(msg)
        if self.logs_in and not (self.sasl_password.get_secret_value() or self.sasl_password_file):
            msg = f"security_protocol {self.security_protocol} needs sasl_password or sasl_password_file"
            raise ValueError(msg)
        if self.encrypted:
            password = secret(self.ssl_key_password, self.ssl_key_password_file)
            tls_context(self.ssl_ca_file, self.ssl_cert_file, self.ssl_key_file, password)
        return self

    def topic(self, name: str) -> str:
        """The full name of one of the installation's own topics."""
        return self.topic_prefix + name

    def source(self, name: str) -> str:
        """The full name of a source topic."""
        return (self.topic_prefix if self.source_prefix is None else self.source_prefix) + name

    def group(self, stage: str) -> str:
        """The consumer group of a stage."""
        return f"{self.topic_prefix}{self.client_id}-{stage}"


class TopicSettings(Section):
    """What `halcyon topics apply` creates. Existing topics keep their partitions."""

    partitions: int = Field(
        8,
        ge=1,
        le=1024,
        description="Partitions of each source topic and of `panes`: the most workers that can share a stage.",
    )
    replication_factor: int = Field(1, ge=1, le=9, description="Copies of each partition; 3 in production.")
    retention_hours: int = Field(72, ge=1, le=8784, description="How long source topics and `alerts` keep messages.")
    internal_retention_hours: int = Field(
        24,
        ge=2,
        le=8784,
        description="How long `panes`, `findings` and `rows` are kept: the longest database outage that loses nothing.",
    )
    dead_letter_retention_hours: int = Field(
        168, ge=1, le=8784, description="How long rejected messages stay readable."
    )


class TimeSettings(Section):
    """Event time, watermarks and idleness."""

    pane_s: int = Field(10, ge=1, le=60, description="Length of a pane, the smallest window; must divide 60.")
    out_of_orderness_s: float = Field(
        5.0,
        ge=0,
        le=600,
        description="How far events of a partition may be out of order: the watermark trails the newest by this.",
    )
    idle_timeout_s: float = Field(
        30.0, ge=1, le=3600, description="A partition that is silent for so long holds no window open."
    )
    max_future_s: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="An event time further ahead of the broker's append time goes to the dead letters.",
    )

    @model_validator(mode="after")
    def _pane_divides_minute(self) -> Self:
        if 60 % self.pane_s:
            msg = f"pane_s must divide 60, so that panes fill minutes: {self.pane_s} does not"
            raise ValueError(msg)
        return self


class CapSettings(Section):
    """Bounds on memory. What is over a cap goes to `__other__` or is left out; `halcyon_capped_items_total` tells."""

    scopes: int = Field(1000, ge=1, le=100_000, description="Scopes (model, version, segment) of a partition.")
    features_per_scope: int = Field(256, ge=1, le=10_000, description="Features of a scope that get histograms.")
    categories_per_feature: int = Field(100, ge=1, le=10_000, description="Categories counted by name.")
    segments: int = Field(64, ge=0, le=10_000, description="Segments of a model; 0 turns segments off.")
    sample_rows: int = Field(
        256, ge=0, le=10_000, description="Rows of a pane kept for multivariate detectors, new baselines and exemplars."
    )
    sample_bytes: int = Field(
        16_777_216, ge=0, le=1_073_741_824, description="All row samples of a pane's scopes together."
    )
    sample_ids: int = Field(
        24, ge=0, le=10_000, description="Event ids of a pane and model kept to tell how many repeat; 0 for none."
    )
    features_per_event: int = Field(1024, ge=1, le=100_000, description="Features read of one event, in its order.")
    segments_per_event: int = Field(16, ge=0, le=1000, description="Segments read of one event, in its order.")
    text_chars: int = Field(256, ge=16, le=10_000, description="Length of names, categories and ids; longer is cut.")
    max_message_bytes: int = Field(
        1_048_576, ge=1024, le=104_857_600, description="Larger messages go to the dead letters undecoded."
    )
    max_decompressed_bytes: int = Field(
        67_108_864, ge=1024, le=1_073_741_824, description="What an Arrow message may become when decompressed."
    )
    max_events_per_message: int = Field(65_536, ge=1, le=10_000_000, description="Events of one Arrow message.")
    max_values_per_message: int = Field(
        16_777_216,
        ge=1024,
        le=1_073_741_824,
        description="Values of one Arrow message: all columns, lists and dictionaries together.",
    )


class SegmentSettings(Section):
    """Which segments of a model are watched beside the whole."""

    fields: Names = Field(
        (),
        description="Keys of `segment` in events whose values make segments; empty: every key, up to the cap.",
    )


class DecisionSettings(Section):
    """When a score becomes a finding."""

    sensitivity: Literal["low", "normal", "high"] = Field(
        "normal",
        description="How much it takes before something is said: `low` doubles the effects that matter and asks for "
        "1.25 times the noise, `high` takes 0.6 and 0.85 of them. Limits that are set stay.",
    )
    low_sensitivity: Names = Field(
        (), description="Scopes of low sensitivity: patterns of models, or of `model/segment`, with `*`."
    )
    high_sensitivity: Names = Field((), description="Scopes of high sensitivity; they win over `low_sensitivity`.")
    k: int = Field(3, ge=1, le=100, description="Windows of the last `m` that must exceed the threshold.")
    m: int = Field(5, ge=1, le=100, description="Windows looked back on.")
    fdr_ratio: float = Field(
        0.01, gt=0, lt=1, description="False discoveries allowed among the quantities of a scope (Benjamini–Hochberg)."
    )
    bad_events_ratio: float = Field(
        0.5, gt=0, le=1, description="Share of rejected events that raises a finding by itself."
    )
    bad_events_min: int = Field(
        1000, ge=1, le=10_000_000, description="Events that must have been seen before `bad_events_ratio` counts."
    )

    @model_validator(mode="after")
    def _k_of_m(self) -> Self:
        if self.k > self.m:
            msg = f"k must be at most m: {self.k} of {self.m} windows can never be reached"
            raise ValueError(msg)
        return self


class AlertSettings(Section):
    """Life cycle of alerts. All times are event time."""

    page_confidence_ratio: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Less confident findings make tickets, not pages; each detector asks for more beside.",
    )
    resolve_after_s: float = Field(300.0, ge=1, le=86_400, description="A finding not seen for so long has ended.")
    flap_window_s: float = Field(
        600.0, ge=0, le=86_400, description="An alert that fires again so soon after its end is the same episode."
    )
    update_after_s: float = Field(
        300.0, ge=0, le=86_400, description="A firing alert is updated at most this often; escalations at once."
    )
    repeat_after_s: float = Field(
        3600.0, ge=1, le=604_800, description="A firing alert is said again after so long without news."
    )
    inhibit_after_s: float = Field(
        300.0, ge=0, le=86_400, description="What a cause explains, it explains for so long after its own end."
    )
    max_alerts: int = Field(1000, ge=1, le=100_000, description="Alerts held at once; further ones are counted only.")
    attack_models: Names = Field(
        ("*fraud*",),
        description="Models whose positive labels are losses: outliers that labels bear out page. Patterns with `*`.",
    )
    runbook_url: str = Field(
        "docs/runbooks",
        min_length=1,
        max_length=2000,
        description="Address of runbooks: `{kind}` and `{alertname}` are replaced, else `/<kind>.md` is appended.",
    )


class ClickHouseSettings(Section):
    """Where rows go. Detection and alerting never wait for it."""

    url: Address = Field(
        "http://127.0.0.1:8123",
        pattern=r"^https?://[^/\s]+/?$",
        description="HTTP address of the server; `https://` for TLS.",
    )
    user: str = Field("default", description="User name.")
    password: SecretStr = Field(SecretStr(""), description="Password; give it in the environment, not in a file.")
    password_file: SecretFile = Field("", description="File that holds the password and nothing else.")
    ssl_ca_file: PemFile = Field(
        "", description="Authorities that the server's certificate must come from, PEM; by default the system's."
    )
    ssl_cert_file: PemFile = Field(
        "", description="This client's certificate, PEM; without a password it also says who the user is."
    )
    ssl_key_file: PemFile = Field("", description="The key of `ssl_cert_file`, PEM, not encrypted.")
    database: str = Field(
        "halcyon",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Database of all tables; created by `halcyon migrate`.",
    )
    batch_rows: int = Field(50_000, ge=1, le=1_000_000, description="An insert is sent when so many rows wait …")
    batch_interval_s: float = Field(1.0, gt=0, le=60, description="… or when the oldest has waited so long.")
    timeout_s: float = Field(30.0, ge=1, le=600, description="How long a query or an insert may take.")
    retry_initial_s: float = Field(
        0.5, gt=0, le=60, description="Wait after the first failed insert; doubles with each further one."
    )
    retry_max_s: float = Field(30.0, gt=0, le=600, description="Longest wait between two tries.")

    @property
    def encrypted(self) -> bool:
        """Whether connections are TLS."""
        return self.url.startswith("https:")

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> Self:
        one_of("password", self.password, self.password_file)
        if self.encrypted:
            tls_context(self.ssl_ca_file, self.ssl_cert_file, self.ssl_key_file)
        return self


class WebSettings(Section):
    """The metrics and health pages of a worker."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; `0.0.0.0` opens it to the network.")
    port: int = Field(
        6060, ge=0, le=65_535, description="Port; 0 takes a free one, which is logged and written to `ready_file`."
    )
    ready_file: str = Field("", description="File that receives the pages' address once they answer; empty: none.")


class HealthSettings(Section):
    """From where on `/healthz` (first knob) and `/readyz` (the others) answer 503."""

    tick_age_s: float = Field(30.0, gt=0, le=3600, description="Longest time a stage's loop may not have turned.")
    lag_events: int = Field(1_000_000, ge=0, description="Most events that may wait unread.")
    watermark_delay_s: float = Field(120.0, gt=0, le=604_800, description="Most that event time may trail the clock.")
    commit_age_s: float = Field(60.0, gt=0, le=86_400, description="Longest time since a commit while one is due.")
    insert_age_s: float = Field(300.0, gt=0, le=86_400, description="Longest time since an insert while rows wait.")
    broker_wait_s: float = Field(
        15.0, gt=0, le=3600, description="Longest time a stage may wait for an answer of the brokers."
    )


class LoggingSettings(Section):
    """What a worker writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity written.")
    format: Literal["text", "json"] = Field(
        "text", description="`text` for people, `json` (an object a line) for collectors."
    )
