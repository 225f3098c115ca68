"""The keys that every camera with an address has, and how it is asked for. No state."""

import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from agent import logs
from agent.errors import SourceAbsent
from agent.isolation.isolated import Isolated
from agent.isolation.reader import Recipe
from agent.options import BARE_SECRET, Secret
from agent.ports import Context
from agent.sources._live_options import LiveOptions

_log = logging.getLogger(__name__)
_USER_IN_URL: Final = "keep user and password out of url; give username and password: {env: NAME} instead"
_USER, _PASSWORD = "{username}", "{password}"
"""What stands for them in the address of a camera that wants them in its path or query."""
_KNOCK_S: Final = 1.0
_READER: Final = "agent.sources._stream_reader"


class AddressOptions(LiveOptions):
    """A camera on the network."""

    schemes: ClassVar[Mapping[str, int]]
    """What its address may begin with, and the port of each."""
    url: str = Field(description="the camera's address, without user and password")
    username: str | None = Field(None, description="user of the camera")
    password: Secret | None = Field(None, description="where its password is: {env: …}, {file: …} or {credential: …}")
    ca_file: Path | None = Field(
        None, description="encrypted addresses: a PEM file of certificates to trust; left out: the system's"
    )
    verify: bool = Field(
        True,
        description="encrypted addresses: whether the camera's certificate must be trusted; false is logged at each "
        "opening, and lets anybody on the way read the password",
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        allowed = " or ".join(f"{scheme}://HOST/PATH" for scheme in cls.schemes)
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise _mistake(f"is no address: host and port cannot be told apart; {_USER_IN_URL}") from None
        if parts.scheme.lower() not in cls.schemes or not host:
            raise _mistake(f"needs its scheme and host: {allowed}")
        if "@" in parts.netloc:
            raise _mistake(_USER_IN_URL)
        return url

    @model_validator(mode="after")
    def _password_has_its_user(self) -> "AddressOptions":
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username beside it")
        return self

    @property
    def name(self) -> str:
        """The address as it may be shown: what stands in a query may be a secret by any name."""
        parts = urlsplit(self.url)
        return logs.redact(urlunsplit(parts._replace(query="***" if parts.query else "")))


def _mistake(text: str) -> PydanticCustomError:
    """One whose text never repeats the address: what is wrong with it may be the password in it."""
    return PydanticCustomError(BARE_SECRET, "{text}", {"text": text})


def camera(options: AddressOptions, context: Context, extra: Mapping[str, str]) -> Isolated:
    """The source for `options`; `extra` are options of FFmpeg."""

    def cook() -> Recipe:
        settings = {
            "url": _address(options, context.base_dir),
            "name": options.name,
            "options": {**extra, **_tls(options, context.base_dir)},
        }
        return Recipe(_READER, options.name, settings)

    return Isolated(cook, options.limits, context.clock, name=options.name, knock=lambda: _knock(options))


def _address(options: AddressOptions, base_dir: Path) -> str:
    """With user and password, for the child alone. Raises ConfigError: the password is not where it should be."""
    if options.username is None:
        return options.url
    user = quote(options.username, safe="")
    password = quote(options.password.reveal(base_dir) if options.password else "", safe="")
    if _USER in options.url or _PASSWORD in options.url:
        return options.url.replace(_USER, user).replace(_PASSWORD, password)
    parts = urlsplit(options.url)
    who = f"{user}:{password}"
    return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc}"))


def _tls(options: AddressOptions, base_dir: Path) -> dict[str, str]:
    """FFmpeg verifies nothing unless it is told to."""
    parts = urlsplit(options.url)
    if parts.scheme.lower() not in ("rtsps", "https"):
        return {}
    if not options.verify:
        _log.warning("%s: its certificate is not verified (verify: false)", options.name)
        return {"tls_verify": "0"}
    ca_file = ssl.get_default_verify_paths().cafile if options.ca_file is None else base_dir / options.ca_file
    return {"tls_verify": "1", **({"ca_file": str(ca_file)} if ca_file else {})}


def _knock(options: AddressOptions) -> None:
    """Whether anybody listens there: quicker and cheaper than a child. Raises SourceAbsent.

    A name is left to the child, for nothing limits how long the system may look it up.
    """
    parts = urlsplit(options.url)
    host, port = _place(parts, options.schemes)
    if not _is_number(host):
        return
    try:
        with contextlib.closing(socket.create_connection((host, port), _KNOCK_S)):
            return
    except OSError as error:
        why = error.strerror or "no answer"
        raise SourceAbsent(
            f"{options.name}: nothing answers at {host}, port {port} ({why.lower()}); is the camera switched on?"
        ) from error


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _place(parts: SplitResult, schemes: Mapping[str, int]) -> tuple[str, int]:
    return parts.hostname or "", parts.port or schemes[parts.scheme.lower()]
