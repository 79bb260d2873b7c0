"""How clients reach the brokers and ClickHouse: the one place that turns the settings into what client libraries take.

What is returned holds secrets in plain text: hand it to a client, and keep it out of logs, errors and objects that are
shown.
"""

import ssl
from typing import Any

from streams.config import ClickHouseSettings, KafkaSettings
from streams.config.credentials import secret, tls_context
from streams.errors import ConfigError


def client_config(kafka: KafkaSettings) -> dict[str, Any]:
    """What every client of librdkafka begins with: where the brokers are, who calls, and how it proves that.

    Raises
    ------
    ConfigError
        When a file with a secret, readable when the settings were loaded, no longer is.
    """
    return {"bootstrap.servers": kafka.bootstrap_servers, "client.id": kafka.client_id, **client_security(kafka)}


def reader_config(kafka: KafkaSettings, stage: str) -> dict[str, Any]:
    """What a stage reads whole topics with, beside its own consumer. Raises as :func:`client_config`.

    Nothing is ever joined or committed, but librdkafka asks for the group's coordinator: it must be one that the stage
    may see.
    """
    return {**client_config(kafka), "group.id": kafka.group(stage)}


def client_security(kafka: KafkaSettings) -> dict[str, Any]:
    """The security settings of librdkafka alone. Raises as :func:`client_config`."""
    config: dict[str, Any] = {"security.protocol": kafka.security_protocol}
    if kafka.logs_in:
        config |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username,
            "sasl.password": _password(kafka),
        }
    if kafka.encrypted:
        config["ssl.endpoint.identification.algorithm"] = "https" if kafka.ssl_check_hostname else "none"
        files = {
            "ssl.ca.location": kafka.ssl_ca_file,
            "ssl.certificate.location": kafka.ssl_cert_file,
            "ssl.key.location": kafka.ssl_key_file,
            "ssl.key.password": _key_password(kafka),
        }
        config |= {name: value for name, value in files.items() if value}
    return config


def consumer_security(kafka: KafkaSettings) -> dict[str, Any]:
    """The same for aiokafka, as arguments of its clients. Raises as :func:`client_config`."""
    arguments: dict[str, Any] = {"security_protocol": kafka.security_protocol}
    if kafka.logs_in:
        arguments |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": _password(kafka),
        }
    if kafka.encrypted:
        try:
            arguments["ssl_context"] = tls_context(
                kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file, _key_password(kafka),
                check_hostname=kafka.ssl_check_hostname,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"The certificates cannot be used: {error}.", "kafka") from error
    return arguments


def database_password(clickhouse: ClickHouseSettings) -> str:
    """The password for ClickHouse, ``""`` for none. Raises as :func:`client_config`."""
    try:
        return secret(clickhouse.password, clickhouse.password_file)
    except ValueError as error:
        raise _gone(error, "clickhouse.password_file", clickhouse.password_file) from error


def database_tls(clickhouse: ClickHouseSettings) -> ssl.SSLContext | None:
    """How ClickHouse is spoken to, None without TLS.

    Raises
    ------
    ConfigError
        When the certificates, good when the settings were loaded, no longer are.
    """
    if not clickhouse.encrypted:
        return None
    try:
        return tls_context(clickhouse.ssl_ca_file, clickhouse.ssl_cert_file, clickhouse.ssl_key_file)
    except ValueError as error:
        raise ConfigError(f"The certificates cannot be used: {error}.", "clickhouse") from error


def _password(kafka: KafkaSettings) -> str:
    try:
        return secret(kafka.sasl_password, kafka.sasl_password_file)
    except ValueError as error:
        raise _gone(error, "kafka.sasl_password_file", kafka.sasl_password_file) from error


def _key_password(kafka: KafkaSettings) -> str:
    try:
        return secret(kafka.ssl_key_password, kafka.ssl_key_password_file)
    except ValueError as error:
        raise _gone(error, "kafka.ssl_key_password_file", kafka.ssl_key_password_file) from error


def _gone(error: ValueError, knob: str, file: str) -> ConfigError:
    return ConfigError(f"The secret cannot be used: {error}.", f"{knob} ({file})", "Put the secret back, then restart.")
