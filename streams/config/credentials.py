"""What the sections share about secrets and certificates: reading them, and saying what is wrong with them.

Secrets come from the environment or from a file of their own, as Docker and Kubernetes mount them: one line, of which a
trailing line break does not count. Files are checked when the settings are read and read again when a client is made,
so that a file that has changed is used from the next start on.
"""

import ssl
from pathlib import Path
from typing import Annotated, NoReturn

from pydantic import AfterValidator, SecretStr

_MAX_SECRET_BYTES = 65_536


def _readable(path: str) -> str:
    if path:
        try:
            with Path(path).open("rb") as file:
                file.read(1)
        except OSError as error:
            raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return path


def _holds_secret(path: str) -> str:
    if path:
        _read_secret(path)
    return path


def _read_secret(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_SECRET_BYTES + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    if not text or len(text) > _MAX_SECRET_BYTES:
        raise ValueError("the file is empty" if not text else f"the file has more than {_MAX_SECRET_BYTES} bytes")
    return text


PemFile = Annotated[str, AfterValidator(_readable)]
"""Path of a file in PEM form, ``""`` for none."""

SecretFile = Annotated[str, AfterValidator(_holds_secret)]
"""Path of a file that holds nothing but a secret, ``""`` for none."""


def secret(given: SecretStr, file: str) -> str:
    """The secret that a knob or a file holds; ``""`` when neither does.

    Raises
    ------
    ValueError
        When the file cannot be read any more.
    """
    return _read_secret(file) if file else given.get_secret_value()


def one_of(knob: str, given: SecretStr, file: str) -> None:
    """Refuse a secret that is given twice: nobody could say which one counts."""
    if file and given.get_secret_value():
        raise ValueError(f"{knob} and {knob}_file are both set: keep one of them")


def tls_context(
    ca_file: str, cert_file: str, key_file: str, key_password: str = "", *, check_hostname: bool = True
) -> ssl.SSLContext:
    """How a client speaks TLS; certificates are always verified.

    Parameters
    ----------
    ca_file
        The authorities that are believed; ``""`` for those of the system.
    cert_file, key_file
        What this client shows of itself; ``""`` for nothing.
    key_password
        Opens the key.
    check_hostname
        Whether the server's certificate must be for the name it was called by.

    Raises
    ------
    ValueError
        When a file is not what it should be, or certificate and key do not belong together.
    """
    if bool(cert_file) != bool(key_file):
        raise ValueError("ssl_cert_file and ssl_key_file belong together: only one of them is set")
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        _refuse(f"ssl_ca_file holds no certificate that can be used ({ca_file})", error)
    context.check_hostname = check_hostname
    if cert_file:
        try:
            # A callable: without one OpenSSL would ask for the password on the terminal.
            context.load_cert_chain(cert_file, key_file, password=lambda: key_password)
        except (OSError, ssl.SSLError) as error:
            _refuse(_key_mistake(error, key_file, key_password), error)
    return context


def _key_mistake(error: Exception, key_file: str, key_password: str) -> str:
    reason = getattr(error, "reason", None) or ""
    if "KEY_VALUES_MISMATCH" in reason or "KEY_TYPE_MISMATCH" in reason:
        return "ssl_key_file is not the key of the certificate in ssl_cert_file"
    if b"ENCRYPTED" in Path(key_file).read_bytes():
        return f"ssl_key_password {'does not open' if key_password else 'is needed to open'} ssl_key_file"
    return "ssl_cert_file and ssl_key_file are not a certificate and its key in PEM form"


def _refuse(what: str, error: Exception) -> NoReturn:
    reason = getattr(error, "reason", None)
    # Without the cause: what OpenSSL says beyond its reason is of no use, and may quote the file.
    raise ValueError(f"{what}: {reason}" if reason else what) from None
