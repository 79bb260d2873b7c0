"""Whether the brokers and ClickHouse let this client in: asked once, with a short patience, for ``config check``."""

from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.config import ClickHouseSettings, KafkaSettings
from streams.connections import client_config
from streams.errors import HalcyonError, UnavailableError
from streams.sinks.clickhouse import ClickHouse

PATIENCE_S: Final = 5.0
_STEP_S: Final = 0.5
# librdkafka's own codes, which its types leave out.
_REFUSED: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001
_NOBODY: Final = (KafkaError._ALL_BROKERS_DOWN,)  # noqa: SLF001
# A broker that does not take this client's certificate says so after the handshake, and hangs up.
_ALERT: Final = "SSL alert"


class Verdict(StrEnum):
    """How a system answered."""

    WELCOME = "lets this client in"
    REFUSED = "refuses this client, or is not to be trusted"
    AWAY = "does not answer, so that the credentials were not tried"


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict on one system, and its own words where it did not say yes."""

    verdict: Verdict
    words: str = ""


def ask_kafka(kafka: KafkaSettings, patience_s: float = PATIENCE_S) -> Answer:
    """Connect to the brokers, log in, and ask for their list of topics."""
    heard: list[KafkaError] = []
    # Log level 0: librdkafka would print what is told by the answer.
    config: dict[str, Any] = {**client_config(kafka), "error_cb": heard.append, "log_level": 0}
    admin = AdminClient(config)
    deadline_s = monotonic() + patience_s
    while True:
        try:
            admin.list_topics(timeout=_STEP_S)
        except KafkaException as error:
            admin.poll(0)
            last: KafkaError = error.args[0]
        else:
            return Answer(Verdict.WELCOME)
        refusals = [one for one in heard if one.code() in _REFUSED or _ALERT in one.str()]
        if refusals:
            return Answer(Verdict.REFUSED, refusals[0].str())
        # One broker of several may be away: only when all are is there nobody left to ask.
        if any(one.code() in _NOBODY for one in heard):
            return Answer(Verdict.AWAY, heard[0].str())
        if monotonic() > deadline_s:
            return Answer(Verdict.AWAY, last.str())


def ask_clickhouse(clickhouse: ClickHouseSettings, patience_s: float = PATIENCE_S) -> Answer:
    """Connect to ClickHouse, log in, and ask for nothing."""
    patient = clickhouse.model_copy(update={"timeout_s": min(patience_s, clickhouse.timeout_s)})
    client = ClickHouse(patient, database=None)
    try:
        client.query("SELECT 1")
    except UnavailableError as error:
        return Answer(Verdict.REFUSED if "certificate" in error.what else Verdict.AWAY, error.what)
    except HalcyonError as error:
        return Answer(Verdict.REFUSED, error.what)
    finally:
        client.close()
    return Answer(Verdict.WELCOME)
