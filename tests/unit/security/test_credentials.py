"""Credentials in the settings: what must go together, how a mistake is told, and that nothing shows a secret."""

import logging
import ssl
import traceback
from pathlib import Path
from typing import Any

import pytest

from streams.cli import stack
from streams.cli.app import run
from streams.cli.context import err, out
from streams.config import Settings, load_settings
from streams.config.doubts import doubts
from streams.config.reference import as_yaml
from streams.connections import (
    client_config,
    client_security,
    consumer_security,
    database_password,
    database_tls,
    reader_config,
)
from streams.errors import ConfigError, UnavailableError
from streams.logs import configure_logging
from streams.wire import TransportSettings
from tests.harness.certificates import Authority

SECRET = "correct horse"
LOGIN = {"security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password": SECRET}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out.cache_clear()
    err.cache_clear()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def settings(**sections: dict[str, Any]) -> Settings:
    return load_settings(env={}, overrides=sections)


def refusal(**sections: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(**sections)
    assert SECRET not in "".join(traceback.format_exception(caught.value)), "--debug prints this"
    return str(caught.value)


def test_without_credentials_nothing_is_encrypted_and_nobody_logs_in() -> None:
    kafka = Settings().kafka
    assert client_security(kafka) == {"security.protocol": "PLAINTEXT"}
    assert consumer_security(kafka) == {"security_protocol": "PLAINTEXT"}
    assert database_password(Settings().clickhouse) == ""
    assert database_tls(Settings().clickhouse) is None


def test_both_clients_of_kafka_are_told_the_same(authority: Authority) -> None:
    pair = authority.issue("both", password="key")
    files = {"ssl_ca_file": str(authority.file), "ssl_cert_file": str(pair.cert), "ssl_key_file": str(pair.key)}
    kafka = settings(kafka={**LOGIN, **files, "sasl_mechanism": "SCRAM-SHA-256", "ssl_key_password": "key"}).kafka
    assert client_config(kafka) == {
        "bootstrap.servers": "127.0.0.1:9092",
        "client.id": "halcyon",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "u",
        "sasl.password": SECRET,
        "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(pair.cert),
        "ssl.key.location": str(pair.key),
        "ssl.key.password": "key",
        "ssl.endpoint.identification.algorithm": "https",
    }
    told = consumer_security(kafka)
    context = told.pop("ssl_context")
    assert told == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "u",
        "sasl_plain_password": SECRET,
    }
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert [entry["subject"] for entry in context.get_ca_certs()] == [((("commonName", "authority"),),)]
    assert reader_config(kafka, "ingest") == {**client_config(kafka), "group.id": "halcyon-ingest"}


def test_the_name_is_left_unchecked_only_when_asked_for() -> None:
    kafka = settings(kafka={**LOGIN, "ssl_check_hostname": False}).kafka
    assert client_security(kafka)["ssl.endpoint.identification.algorithm"] == "none"
    context = consumer_security(kafka)["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"security_protocol": "SASL_SSL", "sasl_password": SECRET}, "SASL_SSL needs sasl_username"),
        ({"security_protocol": "SASL_PLAINTEXT", "sasl_username": "u"}, "needs sasl_password or sasl_password_file"),
        ({**LOGIN, "sasl_password_file": "file"}, "sasl_password and sasl_password_file are both set"),
        ({"security_protocol": "TLS"}, "kafka.security_protocol (command line): input should be 'PLAINTEXT'"),
        ({"sasl_mechanism": "GSSAPI"}, "kafka.sasl_mechanism (command line): input should be 'PLAIN'"),
        ({"sasl_password_file": "none"}, "kafka.sasl_password_file (command line): the file cannot be read: No such"),
        ({"sasl_password_file": "empty"}, "kafka.sasl_password_file (command line): the file is empty"),
        ({"sasl_password_file": "binary"}, "the file is not UTF-8 text"),
        ({"sasl_password_file": "."}, "the file cannot be read: Is a directory"),
        ({"ssl_ca_file": "none"}, "kafka.ssl_ca_file (command line): the file cannot be read: No such file"),
        (
            {"security_protocol": "SSL", "ssl_ca_file": "file"},
            "ssl_ca_file holds no certificate that can be used (file)",
        ),
        ({"security_protocol": "SSL", "ssl_cert_file": "file"}, "ssl_cert_file and ssl_key_file belong together"),
        (
            {"security_protocol": "SSL", "ssl_cert_file": "file", "ssl_key_file": "file"},
            "are not a certificate and its key in PEM form",
        ),
        ({"bootstrap_servers": f"user:{SECRET}@broker:9092"}, "must not stand in the address"),
    ],
)
def test_mistakes_are_told_where_they_stand(knobs: dict[str, Any], words: str) -> None:
    Path("file").write_text(SECRET)
    Path("empty").write_text("\n")
    Path("binary").write_bytes(b"\xff\xfe")
    assert words in refusal(kafka=knobs)


def test_certificates_and_keys_must_belong_together(authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    locked = authority.issue("locked", password=SECRET)
    tls = {"security_protocol": "SSL", "ssl_ca_file": str(authority.file)}

    def told(cert: Path, key: Path, password: str = "") -> str:
        files = {"ssl_cert_file": str(cert), "ssl_key_file": str(key), "ssl_key_password": password}
        return refusal(kafka={**tls, **files})

    assert "ssl_key_file is not the key of the certificate in ssl_cert_file" in told(one.cert, other.key)
    assert "ssl_key_password is needed to open ssl_key_file" in told(locked.cert, locked.key)
    assert "ssl_key_password does not open ssl_key_file" in told(locked.cert, locked.key, "another")
    assert "are not a certificate and its key" in told(one.key, one.cert)
    clickhouse = {"url": "https://x", "ssl_cert_file": str(one.cert), "ssl_key_file": str(other.key)}
    assert "ssl_key_file is not the key" in refusal(clickhouse=clickhouse)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_line_break_at_the_end_of_a_secret_file_is_none_of_it(ending: str) -> None:
    Path("secret").write_bytes(f" {SECRET} {ending}".encode())
    clickhouse = settings(clickhouse={"password_file": "secret"}).clickhouse
    assert database_password(clickhouse) == f" {SECRET} "


def test_a_file_that_goes_away_later_is_told_of_by_its_knob() -> None:
    Path("secret").write_text(SECRET)
    given = settings(kafka={**LOGIN, "sasl_password": "", "sasl_password_file": "secret"})
    Path("secret").unlink()
    with pytest.raises(ConfigError, match=r"kafka\.sasl_password_file \(secret\)"):
        client_config(given.kafka)


def test_users_and_passwords_do_not_stand_in_addresses() -> None:
    told = refusal(clickhouse={"url": f"http://user:{SECRET.replace(' ', '')}@host:8123"})
    assert "knobs of their own" in told
    assert "http://***@host:8123" in told
    assert SECRET.replace(" ", "") not in told


EVERY_SECRET = {
    "HALCYON_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "HALCYON_KAFKA__SASL_USERNAME": "u",
    "HALCYON_KAFKA__SASL_PASSWORD": SECRET,
    "HALCYON_KAFKA__SSL_KEY_PASSWORD": SECRET,
    "HALCYON_CLICKHOUSE__PASSWORD": SECRET,
}


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "check", "--offline"], ["topics", "acls"]])
def test_commands_show_no_secret(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in EVERY_SECRET.items():
        monkeypatch.setenv(name, value)
    assert run(arguments) == 0
    said = capsys.readouterr()
    assert said.out
    assert SECRET not in said.out + said.err


@pytest.mark.parametrize(
    "broken",
    [
        {"HALCYON_KAFKA__SASL_USERNAME": ""},
        {"HALCYON_KAFKA__SSL_CA_FILE": "none"},
        {"HALCYON_KAFKA": f'{{"sasl_password": "{SECRET}"'},
        {"HALCYON_CLICKHOUSE": f'{{"password": ["{SECRET}"]}}', "HALCYON_CLICKHOUSE__PASSWORD": ""},
        {"HALCYON_CONFIG": "halcyon.yaml"},
    ],
)
def test_errors_show_no_secret_even_with_their_tracebacks(broken: dict[str, str]) -> None:
    Path("halcyon.yaml").write_text(f"kafka:\n  sasl_password: {SECRET}: x\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(env={**EVERY_SECRET, **broken})
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_objects_show_no_secret() -> None:
    given = load_settings(env=EVERY_SECRET)
    transport = TransportSettings("b", "g", security=consumer_security(given.kafka))
    shown = repr(given) + repr(given.kafka) + as_yaml(given) + repr(transport) + str(given.model_dump(mode="json"))
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({}, []),
        ({"kafka": {**LOGIN, "security_protocol": "SASL_PLAINTEXT"}}, ["everything after the log-in crosses"]),
        (
            {"kafka": {**LOGIN, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}},
            ["the password crosses the network unencrypted"],
        ),
        ({"kafka": {**LOGIN, "security_protocol": "PLAINTEXT"}}, ["kafka.sasl_username is set and not used"]),
        ({"kafka": {**LOGIN, "ssl_check_hostname": False}}, ["kafka.ssl_check_hostname is off"]),
        ({"kafka": LOGIN}, []),
        ({"clickhouse": {"url": "http://db:8123", "password": SECRET}}, ["the password crosses"]),
        ({"clickhouse": {"url": "https://db:8443", "password": SECRET}}, []),
        ({"clickhouse": {"password": SECRET}}, []),
        ({"web": {"host": "0.0.0.0"}}, ["web.host 0.0.0.0"]),  # noqa: S104 - that it is told of is the point
    ],
)
def test_what_is_allowed_and_odd_is_told(sections: dict[str, dict[str, Any]], words: list[str]) -> None:
    told = doubts(settings(**sections))
    assert len(told) == len(words)
    assert all(word in sentence for word, sentence in zip(words, told, strict=True))
    assert SECRET not in " ".join(told)


def test_requests_with_passwords_are_not_logged_however_much_is() -> None:
    loggers = ["", "aiokafka", "aiokafka.conn"]
    before = [(logging.getLogger(name).level, logging.getLogger(name).handlers[:]) for name in loggers]
    try:
        configure_logging(settings(logging={"level": "debug"}).logging)
        assert logging.getLogger("aiokafka.cluster").isEnabledFor(logging.DEBUG)
        assert not logging.getLogger("aiokafka.conn").isEnabledFor(logging.DEBUG)
    finally:
        for name, (level, handlers) in zip(loggers, before, strict=True):
            logging.getLogger(name).setLevel(level)
            logging.getLogger(name).handlers[:] = handlers


def test_the_pages_are_on_this_machine_alone_by_default() -> None:
    assert Settings().web.host == "127.0.0.1"


def test_no_local_broker_stands_in_for_one_that_demands_a_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "_kafka_answers", lambda _: False)
    with pytest.raises(UnavailableError, match="knows no users and no TLS"):
        stack._choose(settings(kafka=LOGIN), tmp_path, fresh=False)
