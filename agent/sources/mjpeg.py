"""A camera that sends MJPEG over HTTP: many old network cameras, ESP32-CAM, mjpg-streamer, motion.

A camera that is absent, freezes, or closes the connection is lost: the runtime opens it again, for as long as it takes.
One that refuses the password is tried once a minute. Try it without a camera: any MJPEG server, and `vedette check
--probe`. Read in a child process, whose owner is the camera's thread; see agent/isolation.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from agent.ports import Context, Source
from agent.sources._address_options import AddressOptions, camera


class Options(AddressOptions):
    """A network camera that sends MJPEG over HTTP."""

    schemes: ClassVar[Mapping[str, int]] = {"http": 80, "https": 443}
    type: Literal["mjpeg"] = Field(description="a network camera that sends MJPEG over HTTP")
    url: str = Field(description="http://HOST/PATH or https://HOST/PATH, without user and password")


_PICTURES_ALONE: Final = {"format_whitelist": "mpjpeg,mjpeg,jpeg_pipe,flv,mpegts"}
"""FFmpeg goes by what comes: a camera could send a playlist, and have this device ask for addresses near it."""
_ENCRYPTED: Final = {"max_redirects": "0"}
"""A redirection may lead to where no certificate is asked for."""


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    encrypted = urlsplit(options.url).scheme.lower() == "https"
    extra = {"analyzeduration": "1", "fpsprobesize": "0", **_PICTURES_ALONE, **(_ENCRYPTED if encrypted else {})}
    return camera(options, context, extra)
