"""What is allowed and still worth a word: credentials not used, secrets in the open, objectives that cannot page."""

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from detectors.slo.objectives import TIERS
from streams.config.sections import ClickHouseSettings, KafkaSettings
from streams.config.slos import SloSettings
from streams.config.tree import Settings

_HERE = frozenset({"127.0.0.1", "localhost", "::1"})


def doubts(settings: Settings) -> list[str]:
    """Sentences for whoever runs Halcyon; none where nothing is odd.

    Examples
    --------
    >>> doubts(Settings())
    []
    """
    pages = settings.web.host not in _HERE
    opened = [f"web.host {settings.web.host}: whoever reaches this address reads the metrics and health pages"]
    return [
        *_of_kafka(settings.kafka),
        *_of_clickhouse(settings.clickhouse),
        *_of_slos(settings.slos),
        *(opened if pages else ()),
    ]


def _of_kafka(kafka: KafkaSettings) -> Iterator[str]:
    protocol = kafka.security_protocol
    if protocol == "SASL_PLAINTEXT":
        danger = "the password crosses" if kafka.sasl_mechanism == "PLAIN" else "everything after the log-in crosses"
        yield f"kafka.security_protocol {protocol}: {danger} the network unencrypted; SASL_SSL would encrypt it"
    if kafka.sasl_username and not kafka.logs_in:
        yield f"kafka.sasl_username is set and not used: security_protocol is {protocol}"
    if (kafka.ssl_ca_file or kafka.ssl_cert_file) and not kafka.encrypted:
        yield f"kafka.ssl_* is set and not used: security_protocol is {protocol}"
    if kafka.encrypted and not kafka.ssl_check_hostname:
        yield "kafka.ssl_check_hostname is off: any certificate of the authority passes for any broker"


def _of_clickhouse(clickhouse: ClickHouseSettings) -> Iterator[str]:
    has_password = bool(clickhouse.password.get_secret_value() or clickhouse.password_file)
    if has_password and not clickhouse.encrypted and urlsplit(clickhouse.url).hostname not in _HERE:
        yield f"clickhouse.url {clickhouse.url}: the password crosses the network unencrypted; https:// encrypts it"
    if clickhouse.ssl_ca_file and not clickhouse.encrypted:
        yield "clickhouse.ssl_* is set and not used: clickhouse.url is not https://"


def _of_slos(slos: Iterable[SloSettings]) -> Iterator[str]:
    for slo in slos:
        most = 1 / (1 - slo.objective_ratio)
        mute = [tier for tier in TIERS if tier.page and tier.burn > most]
        if mute:
            pages = "never pages" if len(mute) == sum(tier.page for tier in TIERS) else "does not page within the hour"
            yield (
                f"slos {slo.name}: its budget cannot burn faster than {most:.3g}x, so it {pages}; "
                f"an objective_ratio over {1 - 1 / mute[0].burn:.3f} could"
            )
