"""A live camera through OpenCV: a V4L2 device, or an RTSP or HTTP address.

A camera that is absent, or goes away, or gives nothing within `timeout_s` is lost: the runtime tries it again, with
pauses, for as long as it takes. State is owned by the camera's thread.
"""

from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, model_validator

from agent import imaging
from agent.errors import SourceLost
from agent.flow import Pixels
from agent.options import Options as BaseOptions
from agent.options import Positive, Secret
from agent.ports import Context, Source


class Options(BaseOptions):
    """A V4L2 device or a network camera."""

    type: Literal["opencv"]
    device: str | int | None = Field(None, description="a V4L2 device: its number, or a path such as /dev/video0")
    url: str | None = Field(None, description="rtsp://HOST/PATH or http://HOST/PATH, without user and password")
    username: str | None = Field(None, description="user of the network camera")
    password: Secret | None = Field(None, description="where the password is: {env: …}, {file: …} or {credential: …}")
    timeout_s: Positive = Field(5.0, description="no picture for so long: the camera is lost, seconds (network only)")

    @model_validator(mode="after")
    def _one_place(self) -> "Options":
        if (self.device is None) == (self.url is None):
            raise ValueError("give either device or url")
        if self.url is not None and "://" not in self.url:
            raise ValueError("url needs its scheme: rtsp://… or http://…")
        if self.url is not None and urlsplit(self.url).password is not None:
            raise ValueError("keep the password out of url; give username and password: {env: NAME} instead")
        return self


class OpenCVCamera:
    """Reads one camera."""

    live = True
    pace_fps: float | None = None

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._video: imaging.Video | None = None

    def open(self) -> None:
        """Connect. Raises SourceLost, ConfigError (a missing password)."""
        options = self._options
        if options.device is not None:
            path = Path(f"/dev/video{options.device}" if isinstance(options.device, int) else options.device)
            if not path.exists():
                raise SourceLost(f"{path}: no such camera; plug it in, or list them with v4l2-ctl --list-devices")
            self._video = imaging.open_stream(str(path), timeout_s=options.timeout_s)
        else:
            self._video = imaging.open_stream(self._address(), timeout_s=options.timeout_s)

    def _address(self) -> str:
        """The address with user and password, for the one call that needs them."""
        parts = urlsplit(str(self._options.url))
        if self._options.username is None:
            return str(self._options.url)
        password = self._options.password.reveal(self._context.base_dir) if self._options.password else ""
        who = f"{quote(self._options.username, safe='')}:{quote(password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc}"))

    def read(self) -> Pixels:
        """See Source. Raises SourceLost."""
        pixels = self._video.read() if self._video else None
        if pixels is None:
            raise SourceLost(
                f"{self._options.url or self._options.device}: no picture came; is the camera still there?"
            )
        return pixels

    def close(self) -> None:
        """Let go of the camera."""
        if self._video is not None:
            self._video.close()
            self._video = None


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    return OpenCVCamera(options, context)
