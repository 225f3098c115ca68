"""A live camera through OpenCV: a V4L2 device, or an RTSP or HTTP address.

A camera that is absent, or goes away, or gives nothing within `timeout_s` is lost: the runtime tries it again, with
pauses, for as long as it takes. Only a password that is not where it should be needs a person. Try it without a camera:
any program that serves MJPEG or RTSP, and `vedette check --probe`. State is owned by the camera's thread.
"""

from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, model_validator

from agent import imaging, logs
from agent.errors import SourceLost
from agent.flow import Pixels
from agent.options import Options as BaseOptions
from agent.options import Secret
from agent.ports import Context, Source

_USER_IN_URL = "keep user and password out of url; give username and password: {env: NAME} instead"


class Options(BaseOptions):
    """A V4L2 device or a network camera."""

    type: Literal["opencv"] = Field(description="a live camera, on this machine or on the network")
    device: str | int | None = Field(None, description="a V4L2 device: its number, or a path such as /dev/video0")
    url: str | None = Field(None, description="rtsp://HOST/PATH or http://HOST/PATH, without user and password")
    username: str | None = Field(None, description="user of the network camera")
    password: Secret | None = Field(None, description="where its password is: {env: …}, {file: …} or {credential: …}")
    timeout_s: float = Field(
        5.0, gt=0, le=8, description="no picture for so many seconds: the camera is lost (network only)"
    )

    @model_validator(mode="after")
    def _one_place(self) -> "Options":
        if (self.device is None) == (self.url is None):
            raise ValueError("give either device or url")
        if self.url is not None:
            _refuse_user_in(self.url)
        if self.username is not None and self.url is None:
            raise ValueError("username and password are for a url; a device has none")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username beside it")
        return self


def _refuse_user_in(url: str) -> None:
    """Raises ValueError, whose text never repeats `url`: what is wrong with it may be the password in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"url is no address: host and port cannot be told apart; {_USER_IN_URL}") from None
    if "://" not in url or not host:
        raise ValueError("url needs its scheme and host: rtsp://HOST/PATH or http://HOST/PATH")
    if "@" in parts.netloc:
        raise ValueError(_USER_IN_URL)


class OpenCVCamera:
    """Reads one camera."""

    live = True
    pace_fps: float | None = None

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._name = str(_device_path(options.device)) if options.device is not None else logs.redact(str(options.url))
        self._video: imaging.Video | None = None

    def open(self) -> None:
        """Connect. Raises SourceLost, ConfigError (a missing password)."""
        if self._options.url is not None:
            address = self._address(self._options.url)
            self._video = imaging.open_stream(address, name=self._name, timeout_s=self._options.timeout_s)
            return
        path = Path(self._name)
        if not path.exists():
            raise SourceLost(f"{path}: no such camera; plug it in, or list them with v4l2-ctl --list-devices")
        self._video = imaging.open_device(path)

    def _address(self, url: str) -> str:
        """The address with user and password, for the one call that needs them."""
        if self._options.username is None:
            return url
        password = self._options.password.reveal(self._context.base_dir) if self._options.password else ""
        who = f"{quote(self._options.username, safe='')}:{quote(password, safe='')}"
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc}"))

    def read(self) -> Pixels:
        """See Source. Raises SourceLost."""
        pixels = self._video.read() if self._video else None
        if pixels is None:
            raise SourceLost(f"{self._name}: no picture came; is the camera still there?")
        return pixels

    def close(self) -> None:
        """Let go of the camera."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def __repr__(self) -> str:
        return f"<OpenCVCamera {self._name} {'open' if self._video else 'closed'}>"


def _device_path(device: str | int) -> Path:
    return Path(f"/dev/video{device}" if str(device).isdigit() else str(device))


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    return OpenCVCamera(options, context)
