"""Why no connection came about, in words and by name, from the system's own errors. No state."""

import socket
import ssl
from collections.abc import Iterator

from agent.errors import Cause, EngineUnavailable
from agent.trust import OTHER_NAME, OUT_OF_DATE


def named(error: BaseException, host: str) -> EngineUnavailable | None:
    """What the system's error behind `error` means for the way to `host`; None where there is none that says."""
    for cause in _chain(error):
        if isinstance(cause, socket.gaierror | UnicodeError):
            return EngineUnavailable(f"the name {host} cannot be resolved; is there a DNS server?", Cause.DNS)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _unaccepted(cause, host)
        if isinstance(cause, ssl.SSLError):
            return EngineUnavailable(f"TLS with {host} failed: {cause.reason}", Cause.TLS)
        if isinstance(cause, TimeoutError):
            return EngineUnavailable(f"{host} did not answer in time", Cause.TIMEOUT)
    return None


def _unaccepted(error: ssl.SSLCertVerificationError, host: str) -> EngineUnavailable:
    """What is wrong with a certificate."""
    said = error.verify_message or str(error)
    if error.verify_code in OUT_OF_DATE:
        advice = "is this device's clock right?"
        return EngineUnavailable(f"the certificate of {host} is out of date ({said}); {advice}", Cause.TLS_EXPIRED)
    if error.verify_code in OTHER_NAME:
        advice = "check url; a captive portal may be in between"
        return EngineUnavailable(f"the certificate is not that of {host} ({said}); {advice}", Cause.TLS_HOST)
    return EngineUnavailable(f"the certificate of {host} is not accepted: {said}", Cause.TLS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
