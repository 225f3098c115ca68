"""Whose certificates a TLS connection accepts. No state."""

import ssl
from pathlib import Path

from agent.errors import ConfigError


def tls_context(ca_file: Path | None, *, key: str) -> ssl.SSLContext:
    """A client's context that trusts `ca_file`, or the system's CAs when it is None; errors call it `key`.

    Raises:
        ConfigError: `ca_file` cannot be read, or is no PEM file.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise ConfigError(f"{key} {ca_file} holds no certificate in PEM form; name one that does") from error
    except OSError as error:
        raise ConfigError(f"{key} {ca_file} cannot be read: {error.strerror}; check path and rights") from error
