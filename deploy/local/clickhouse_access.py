"""Who may ask the local endpoint: TLS and users, as far as a client can tell them from ClickHouse's own.

The engine in this process has no users, and so no grants: who is let in may do everything.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

DEFAULT_USER = "default"
AUTHENTICATION_FAILED = 516


@dataclass(frozen=True, slots=True)
class LocalTls:
    """Files in PEM form: the server's certificate and key, and the authority of the clients' certificates, if any."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """How the server speaks."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert_file, self.key_file)
        if self.client_ca_file is not None:
            context.load_verify_locations(self.client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


class DeniedError(Exception):
    """The user is not known, or has not proved to be who it says."""

    def __init__(self, user: str) -> None:
        super().__init__(
            f"Code: {AUTHENTICATION_FAILED}. DB::Exception: {user}: Authentication failed: password is incorrect, or "
            "there is no user with such name. (AUTHENTICATION_FAILED)"
        )


def read_users(path: Path) -> dict[str, str]:
    """User → password, from a JSON object in a file: a password among the arguments could be seen by everybody here."""
    users: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return users


def check(users: Mapping[str, str], headers: Message, query: Mapping[str, str], certificate: Any) -> None:  # noqa: ANN401 - as ssl gives it
    """Let a request in, or not.

    Parameters
    ----------
    users
        User → password.
    headers, query
        Of the request: the user and the password may be in either.
    certificate
        What the client has shown of itself, as :meth:`ssl.SSLSocket.getpeercert` gives it.

    Raises
    ------
    DeniedError
        When it is not.
    """
    user, password = _claimed(headers, query)
    if headers.get("X-ClickHouse-SSL-Certificate-Auth") == "on":
        if user not in users or user != _common_name(certificate):
            raise DeniedError(user)
        return
    wanted = users.get(user, "")
    if user not in users or not hmac.compare_digest(wanted.encode(), password.encode()):
        raise DeniedError(user)


def _claimed(headers: Message, query: Mapping[str, str]) -> tuple[str, str]:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(token).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    user = headers.get("X-ClickHouse-User") or query.get("user") or DEFAULT_USER
    return user, headers.get("X-ClickHouse-Key") or query.get("password") or ""


def _common_name(certificate: Any) -> str | None:  # noqa: ANN401 - likewise
    subject = (certificate or {}).get("subject", ())
    return next((value for part in subject for name, value in part if name == "commonName"), None)
