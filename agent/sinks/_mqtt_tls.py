"""Whom an MQTT connection trusts, and by which certificate it is known itself. No state."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.errors import ConfigError
from agent.trust import tls_context

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class Security:
    """What is set for TLS, with paths as the process sees them."""

    ca_file: Path | None
    """None: the system's CAs."""
    verify: bool
    min_version: str
    """1.2 or 1.3."""
    certificate: Path | None
    """The client's own; None: it shows none."""
    key: Path | None
    """None: the key is in the certificate's file."""
    key_password: str | None = field(repr=False)


class _ClosingSocket(ssl.SSLSocket):
    """paho leaves the socket open when the handshake fails, and the descriptor with it."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def broker_context(security: Security) -> ssl.SSLContext:
    """The context of a connection. Raises ConfigError: a file cannot be read or used."""
    context = tls_context(security.ca_file, key="tls.ca_file", verify=security.verify)
    context.minimum_version = _VERSIONS[security.min_version]
    context.sslsocket_class = _ClosingSocket
    if security.certificate is not None:
        _present(context, security, security.certificate)
    return context


def _present(context: ssl.SSLContext, security: Security, certificate: Path) -> None:
    """Show `certificate` to brokers that ask for one."""
    files = [("tls.client_certificate", certificate), ("tls.client_key", security.key or certificate)]
    for name, path in files:
        _readable(name, path)
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, security.key, security.key_password or "")
    except ssl.SSLError as error:
        raise ConfigError(_unusable(error, security, certificate)) from error


def _readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ConfigError(f"{name} {path} cannot be read: {error.strerror}; check path and rights") from error


def _unusable(error: ssl.SSLError, security: Security, certificate: Path) -> str:
    key = security.key or certificate
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"tls.client_key {key} does not belong to tls.client_certificate {certificate}; name the key made for it"
    if b"ENCRYPTED" in key.read_bytes():
        hint = "set" if security.key_password is None else "mend"
        return f"tls.client_key {key} is encrypted and cannot be opened; {hint} tls.client_key_password"
    return (
        f"tls.client_certificate {certificate} and tls.client_key {key} are not a certificate and its key in PEM form; "
        "name files that are"
    )
