"""A broker that demands TLS, certificates, passwords and rights, each on a listener of its own.

The plain listener stays, for readiness and for the tests' own preparations: who comes there is nobody, and nobody is a
super user. Everyone else may do what an ACL says, and nothing more.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not exported by its type hints
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from deploy.local.kafka import LocalKafka
from deploy.local.ports import LOOPBACK, free_port
from streams.acls import Acl
from tests.harness.certificates import Authority, Pair

PLAIN_USER: Final = "plain-user"
SCRAM_USER: Final = "scram-user"
MTLS_USER: Final = "mtls-user"
PASSWORD: Final = 'correct horse, battery "staple"'
"""What must never be seen; with what tends to break where texts are put together."""
_ADMIN_S: Final = 30.0
_JAAS: Final = "org.apache.kafka.common.security"
_AUDIT: Final = """
logger.rights.name = kafka.authorizer.logger
logger.rights.level = debug
"""
_LINE: Final = re.compile(
    r"Principal = User:(?P<user>\S+) is (?P<verdict>Allowed|Denied) operation = (?P<operation>\w+) .*?"
    r"on resource = (?P<kind>\w+):LITERAL:(?P<name>\S+) for request"
)


@dataclass(frozen=True)
class Audited:
    """One decision of the broker's: who may, or may not, do what with what."""

    user: str
    allowed: bool
    operation: str
    kind: str
    name: str


class AuditedKafka(LocalKafka):
    """A broker that writes down every decision about rights."""

    def _prepare(self, java: str, jars: Path) -> None:
        super()._prepare(java, jars)
        with (self.data_dir / "log4j2.properties").open("a") as file:
            file.write(_AUDIT)

    def decisions(self, since: int = 0) -> set[Audited]:
        """What was decided about users since the log was so many bytes long."""
        text = self._log.read_bytes()[since:].decode(errors="replace")
        return {
            Audited(found["user"], found["verdict"] == "Allowed", found["operation"], found["kind"], found["name"])
            for found in _LINE.finditer(text)
            if found["user"] != "ANONYMOUS"
        }

    @property
    def log_bytes(self) -> int:
        """How long the log is."""
        return self._log.stat().st_size

    @property
    def _log(self) -> Path:
        return self.data_dir / "kafka.log"


@dataclass
class SecureKafka:
    """The broker, its listeners by name, and what clients need for them."""

    kafka: AuditedKafka
    ports: Mapping[str, int]
    authority: Authority
    stranger: Authority
    client: Pair
    locked: Pair
    impostor: Pair

    def address(self, listener: str) -> str:
        """Address of one of ``LISTENERS``."""
        return f"{LOOPBACK}:{self.ports[listener]}"

    def settings(self, listener: str, user: str = "") -> dict[str, str]:
        """The settings of a client that is let in there, as environment variables."""
        knobs = {"BOOTSTRAP_SERVERS": self.address(listener), "SECURITY_PROTOCOL": LISTENERS[listener]}
        if "SSL" in LISTENERS[listener]:
            knobs["SSL_CA_FILE"] = str(self.authority.file)
        if listener == "MTLS":
            knobs |= {"SSL_CERT_FILE": str(self.client.cert), "SSL_KEY_FILE": str(self.client.key)}
        if "SASL" in LISTENERS[listener]:
            plain = listener == "PLAIN"
            knobs["SASL_MECHANISM"] = "PLAIN" if plain else "SCRAM-SHA-512"
            knobs["SASL_USERNAME"] = user or (PLAIN_USER if plain else SCRAM_USER)
            knobs["SASL_PASSWORD"] = PASSWORD
        return {f"HALCYON_KAFKA__{name}": value for name, value in knobs.items()}

    def add_user(self, name: str) -> None:
        """A user of both SCRAM mechanisms, with the password that all have."""
        mechanisms = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
        wanted = [
            UserScramCredentialUpsertion(name, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            for mechanism in mechanisms
        ]
        for one in wanted:
            for future in self.admin.alter_user_scram_credentials([one]).values():
                future.result(_ADMIN_S)

    def grant(self, user: str, acls: Iterable[Acl]) -> None:
        """Let a user do this."""
        for future in self.admin.create_acls([_binding(user, acl) for acl in acls]).values():
            future.result(_ADMIN_S)

    def revoke(self, user: str, acls: Iterable[Acl]) -> None:
        """Let it do this no longer."""
        for future in self.admin.delete_acls([_filter(user, acl) for acl in acls]).values():
            future.result(_ADMIN_S)

    @cached_property
    def admin(self) -> AdminClient:
        """Nobody, who may do everything."""
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap})


LISTENERS: Final = {
    "TLS": "SSL",
    "MTLS": "SSL",
    "ELSEWHERE": "SSL",
    "SCRAM": "SASL_SSL",
    "PLAIN": "SASL_SSL",
    "OPEN": "SASL_PLAINTEXT",
}
"""Encrypted; encrypted for who shows a certificate; with a certificate for another name; users; passwords as they are;
users without encryption."""


@pytest.fixture(scope="session")
def secure_kafka() -> Iterator[SecureKafka]:
    """One such broker for all tests that want it."""
    with tempfile.TemporaryDirectory(prefix="halcyon-secure-") as folder, running(Path(folder)) as broker:
        yield broker


@contextmanager
def running(folder: Path) -> Iterator[SecureKafka]:
    """The broker, for as long as the block lasts."""
    authority, stranger = Authority(folder / "tls"), Authority(folder / "tls", "stranger")
    server, elsewhere = authority.issue("broker", LOOPBACK), authority.issue("elsewhere", "elsewhere.example")
    ports: dict[str, int] = {}
    for name in LISTENERS:
        ports[name] = free_port()
        assert len(set(ports.values())) == len(ports), "a port was chosen twice"
    kafka = AuditedKafka(folder / "kafka", properties=_properties(authority, server, elsewhere))
    kafka.properties |= _listeners(kafka, ports)
    with kafka:
        broker = SecureKafka(
            kafka, ports, authority, stranger, authority.issue(MTLS_USER), authority.issue("locked", password=PASSWORD),
            stranger.issue(MTLS_USER),
        )  # fmt: skip
        broker.add_user(SCRAM_USER)
        yield broker


def _listeners(kafka: LocalKafka, ports: Mapping[str, int]) -> dict[str, str]:
    ours = ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in {"BROKER": kafka.port, **ports}.items())
    protocols = {"BROKER": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
    return {
        "listeners": f"{ours},CONTROLLER://{LOOPBACK}:{kafka.controller_port}",
        "advertised.listeners": ours,
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
    }


def _properties(authority: Authority, server: Pair, elsewhere: Pair) -> dict[str, str]:
    escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"').replace("\\", "\\\\")
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.mtls.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        "listener.name.elsewhere.ssl.keystore.type": "PEM",
        "listener.name.elsewhere.ssl.keystore.location": str(elsewhere.both),
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.scram.scram-sha-256.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
        "listener.name.open.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.open.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
        "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.plain.plain.sasl.jaas.config": (
            f'{_JAAS}.plain.PlainLoginModule required user_{PLAIN_USER}="{escaped}";'
        ),
    }


def _binding(user: str, acl: Acl) -> AclBinding:
    return AclBinding(*_described(user, acl))


def _filter(user: str, acl: Acl) -> AclBindingFilter:
    return AclBindingFilter(*_described(user, acl))


def _described(user: str, acl: Acl) -> tuple[Any, ...]:
    resource = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}[acl.kind]
    operation = AclOperation[acl.operation.upper()]
    return (resource, acl.name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
