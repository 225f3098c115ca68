"""Whose certificates a TLS connection accepts, and why it did not. No state."""

import ssl
from pathlib import Path
from typing import Final

from agent.errors import ConfigError

# X509_V_ERR_* in OpenSSL's x509_vfy.h.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_CA: Final = frozenset({2, 18, 19, 20, 21})
OUT_OF_DATE: Final = frozenset({_NOT_YET_VALID, _EXPIRED})
OTHER_NAME: Final = frozenset({62, 64})
"""A host's name, or its address."""


def tls_context(ca_file: Path | None, *, key: str, verify: bool = True) -> ssl.SSLContext:
    """A client's context that trusts `ca_file`, or the system's CAs when it is None; errors call it `key`.

    `verify` is false where the configuration says so in as many words: any certificate will do. `Config.notes` tells.

    Raises:
        ConfigError: `ca_file` cannot be read, or is no PEM file.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise ConfigError(f"{key} {ca_file} holds no certificate in PEM form; name one that does") from error
    except OSError as error:
        raise ConfigError(f"{key} {ca_file} cannot be read: {error.strerror}; check path and rights") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def distrust(error: ssl.SSLCertVerificationError, ca_file: Path | None, *, key: str, other_name: str) -> str:
    """What is wrong with a certificate, and what a person can do: the rest of "HOST shows a certificate".

    Args:
        error: what OpenSSL says.
        ca_file: the CA that was trusted; None: the system's.
        key: what the configuration calls it.
        other_name: what to do where the certificate is another host's.
    """
    if error.verify_code in _UNKNOWN_CA:
        known = f"the CA in {ca_file}" if ca_file else "a CA of this system (Debian: ca-certificates)"
        return f"that does not come from {known}; set {key} to the certificate of the CA that signed it"
    if error.verify_code in OTHER_NAME:
        return f"for another name; {other_name}"
    if error.verify_code == _EXPIRED:
        return "that has expired; renew it, or set this device's clock if that is wrong"
    if error.verify_code == _NOT_YET_VALID:
        return "that is not valid yet; set this device's clock if that is wrong"
    return f"that is not trusted: {error.verify_message}; check {key}"
