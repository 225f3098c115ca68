"""Files and answers over HTTP, for a person who waits: a link that breaks costs nothing but time.

A file is fetched into a part beside it, which carries the checksum of the whole in its name; whatever ends a download,
a broken link, a kill or a power cut, the next one goes on where the part ends. Main thread.
"""

import contextlib
import errno
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from agent.clock import Clock
from agent.engines import _causes
from agent.errors import AgentError, Cause
from agent.model import space
from agent.model.meter import Meter
from agent.trust import tls_context

if TYPE_CHECKING:
    import httpx

_CONNECT_S: Final = 15.0
_SILENCE_S: Final = 30.0
"""Of each step. A server that gives nothing for so long is asked anew."""
_ANSWER_LIMIT_BYTES: Final = 16 * 1024 * 1024
_PIECE_BYTES: Final = 65_536
_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Before each further try after one that brought nothing."""
_TELL_EVERY_S: Final = 5.0
_AT_ONCE_S: Final = 0.1
"""Before a try after one that brought something."""
_AT_FIRST: Final = 2
"""So many further tries while nothing has ever come: the device may be offline, and a person waits."""
_OK, _PARTIAL, _BEYOND = 200, 206, 416
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_EXPIRED: Final = (400, 401, 403, 410)
"""What storage says to an address whose signature is too old."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_LASTING: Final = (Cause.TLS, Cause.TLS_EXPIRED, Cause.TLS_HOST)
_PASSING: Final = (408, 425, 429, *range(500, 600))


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file, and how to know that it is the right one."""

    name: str
    algorithm: str
    """Of hashlib: md5 or sha256."""
    digest: str
    """In hexadecimal digits; "": nobody knows it, and what comes is taken."""
    size_bytes: int | None = None
    """None: not known before it is asked for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    media_type: str


class _Broken(Exception):
    """This try is over; another may go on where it ended."""


class _Expired(_Broken):
    """The address is too old."""


class Web:
    """Asks and fetches. Proxies are taken from the environment, as of any tool at a terminal."""

    def __init__(
        self, clock: Clock, *, ca_file: Path | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """Raises ConfigError.

        Args:
            clock: waits between tries.
            ca_file: a PEM file of a CA to trust in place of the system's.
            tell: is told every few seconds why nothing comes, while it is tried again.
        """
        import certifi
        import httpx

        context = tls_context(ca_file, key="ca_file")
        if ca_file is None:
            context.load_verify_locations(certifi.where())
        timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
        self._clock = clock
        self._tell = tell
        self._client = httpx.Client(
            verify=context,
            timeout=timeout,
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [_stay_encrypted]},
        )
        self._anything_came = False

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def ask(self, url: str, *, params: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """The answer to a GET, whatever its status; asked again while the server cannot answer.

        Raises AgentError: there is none.
        """
        pauses = self._pauses()
        while True:
            try:
                return self._asked(url, params, headers)
            except _Broken as error:
                reason = str(error)
            self._pause(pauses, reason)

    def _asked(self, url: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        with (
            _translated(url),
            self._client.stream("GET", url, params=dict(params), headers=dict(headers)) as response,
        ):
            body = _limited(response.iter_raw(), url)
        self._anything_came = True
        if response.status_code in _PASSING:
            raise _Broken(f"{_host(url)} cannot answer now (status {response.status_code})")
        return Reply(response.status_code, body, response.headers.get("content-type", ""))

    def fetch(self, wanted: Wanted, folder: Path, *, address: Callable[[], str], meter: Meter) -> Path:
        """The file in `folder`, whole and right; what is there of it already is not fetched again.

        Args:
            wanted: which file.
            folder: where it goes, and its part.
            address: where it is now. Asked again when an address has expired.
            meter: is told of every byte.

        Raises:
            AgentError: it cannot be had, or another one came, or the disk is full. OSError: the disk.
        """
        whole, part = folder / wanted.name, folder / f"{wanted.name}.{wanted.digest}.part"
        if whole.is_file() and digest_of(whole, wanted.algorithm) == wanted.digest:
            return whole
        if not wanted.digest:
            part.unlink(missing_ok=True)
        resumed = part.exists()
        self._fill(part, wanted, address, meter)
        found = digest_of(part, wanted.algorithm)
        if wanted.digest and found != wanted.digest:
            part.unlink()
            if resumed:  # a power cut may have spoilt what was there
                return self.fetch(wanted, folder, address=address, meter=meter)
            raise AgentError(
                f"{wanted.name}: another file came, and was thrown away: its {wanted.algorithm} is {found}, not "
                f"{wanted.digest}; try again, and look for a proxy or captive portal in between"
            )
        part.rename(whole)
        return whole

    def _fill(self, part: Path, wanted: Wanted, address: Callable[[], str], meter: Meter) -> None:
        """Try until the part is complete, or nothing comes any more."""
        url, pauses = address(), self._pauses()
        while True:
            before_bytes = _size(part)
            try:
                return self._go_on(part, wanted, url, meter)
            except _Expired as error:
                reason, url = str(error), address()
            except _Broken as error:
                reason = str(error)
            if _size(part) > before_bytes:
                pauses = iter((_AT_ONCE_S, *self._pauses()))
            kept = "; what has come is kept: try again, and it goes on from there" if _size(part) else ""
            self._pause(pauses, f"{wanted.name}: {reason}{kept}")

    def _go_on(self, part: Path, wanted: Wanted, url: str, meter: Meter) -> None:
        """One request for what is missing. Raises _Broken, AgentError, OSError."""
        there_bytes = _size(part)
        headers = {"Range": f"bytes={there_bytes}-"} if there_bytes else {}
        with _translated(url), self._client.stream("GET", url, headers=headers, follow_redirects=True) as response:
            if response.status_code == _BEYOND:  # nothing is missing, or too much is there: the digest tells
                return
            begins, total_bytes = _extent(response, wanted, there_bytes)
            space.ensure(part.parent, wanted.name, (total_bytes or 0) - begins)
            meter.begin(wanted.name, begins, total_bytes)
            self._store(response.iter_raw(), part, begins, meter)  # as it comes: what is gathered first would be lost
        if total_bytes is not None and _size(part) < total_bytes:
            raise _Broken(f"{_host(url)} hung up before the end")

    def _store(self, pieces: Iterable[bytes], part: Path, begins: int, meter: Meter) -> None:
        try:
            with part.open("r+b" if begins else "wb") as file:
                file.seek(begins)
                for piece in pieces:
                    file.write(piece)
                    self._anything_came = True
                    meter.add(len(piece))
        except OSError as error:
            if error.errno in _FULL:
                part.unlink(missing_ok=True)
                raise AgentError(f"{part.parent} is full; nothing of this download is left there; make room") from error
            raise

    def _pauses(self) -> Iterator[float]:
        return iter(_PAUSES_S if self._anything_came else _PAUSES_S[:_AT_FIRST])

    def _pause(self, pauses: Iterator[float], reason: str) -> None:
        pause_s = next(pauses, None)
        if pause_s is None:
            raise AgentError(reason)
        while pause_s > 0:
            self._tell(f"{reason.partition('; ')[0]}; it is tried again")
            self._clock.wait(threading.Event(), min(pause_s, _TELL_EVERY_S))
            pause_s -= _TELL_EVERY_S


def digest_of(file: Path, algorithm: str) -> str:
    """In hexadecimal digits. Raises OSError."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _extent(response: "httpx.Response", wanted: Wanted, there_bytes: int) -> tuple[int, int | None]:
    """Where what follows belongs in the file, and how large that will be; None: nobody says.

    Raises _Broken, AgentError: what follows is no part of it.
    """
    status, host = response.status_code, response.url.host
    if status in _EXPIRED:
        raise _Expired(f"{host} refuses the file (status {status})")
    if status in _PASSING:
        raise _Broken(f"{host} cannot give it now (status {status})")
    if status not in {_OK, _PARTIAL}:
        raise AgentError(f"{wanted.name}: {host} has no such file (status {status})")
    if "html" in response.headers.get("content-type", ""):
        raise _Broken(f"a web page came from {host} in place of the file; a captive portal? Sign in to the network")
    said = _RANGE.fullmatch(response.headers.get("content-range", "")) if status == _PARTIAL else None
    if status == _PARTIAL and (said is None or int(said[1]) != there_bytes):
        raise AgentError(f"{wanted.name}: {host} sends another part of the file than was asked for")
    length = response.headers.get("content-length", "")
    begins = there_bytes if said else 0
    total = said[2] if said and said[2].isdigit() else str(begins + int(length)) if length.isdigit() else ""
    if wanted.size_bytes is not None and total and int(total) != wanted.size_bytes:
        raise _Broken(f"{host} has a file of {total} bytes there, not of {wanted.size_bytes}")
    return begins, int(total) if total else None


def _limited(pieces: Iterable[bytes], url: str) -> bytes:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > _ANSWER_LIMIT_BYTES:
            raise AgentError(f"the answer of {_host(url)} is over 16 MB; that is not the API")
    return bytes(body)


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """What httpx raises, as ours. Raises _Broken, AgentError."""
    import httpx

    host = _host(url)
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects) as error:
        raise AgentError(f"{host} cannot be asked: {type(error).__name__}; check the address and the key") from error
    except httpx.TransportError as error:
        named = _causes.named(error, host)
        if named is not None and named.cause in _LASTING:
            raise AgentError(str(named)) from error
        raise _Broken(
            str(named or f"{host} cannot be reached, or hung up ({error}); is this device online?")
        ) from error


def _stay_encrypted(response: "httpx.Response") -> None:
    """Raises AgentError: a server that was asked over TLS redirects to where there is none."""
    if response.has_redirect_location and response.url.scheme == "https":
        target = response.url.join(response.headers["location"])
        if target.scheme != "https":
            raise AgentError(f"{response.url.host} redirects to {target.host} without TLS; that is not followed")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _host(url: str) -> str:
    """For people; an address that is none is told of as it is, up to its query, which may be secret."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return host or url.partition("?")[0]
