"""Certificates for tests: an authority of their own, servers, clients, and some that must not be believed."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAYS = dt.timedelta(days=2)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files; ``both`` holds the two, as Kafka wants a server's."""

    cert: Path
    key: Path
    both: Path


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._cert = self._signed(name, self._key, x509.BasicConstraints(ca=True, path_length=0), ())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(self._cert))

    def issue(self, name: str, *hosts: str, password: str = "") -> Pair:
        """A certificate for ``name``, good for these addresses; its key under ``password`` where one is given."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._signed(name, key, x509.BasicConstraints(ca=False, path_length=None), hosts)
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password.encode())
        raw = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        stem = self._folder / f"{self._name}-{name}"
        pair = Pair(stem.with_suffix(".crt"), stem.with_suffix(".key"), stem.with_suffix(".both"))
        pair.cert.write_bytes(_pem(cert))
        pair.key.write_bytes(raw)
        pair.both.write_bytes(raw + _pem(cert))
        return pair

    def _signed(
        self, name: str, key: ec.EllipticCurvePrivateKey, kind: x509.BasicConstraints, hosts: tuple[str, ...]
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self._name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAYS)
            .not_valid_after(now + _DAYS)
            .add_extension(kind, critical=True)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)
