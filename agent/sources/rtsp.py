"""An RTSP camera, as nearly every network camera is one: H.264 or H.265 over TCP or UDP.

A camera that is absent, freezes, or closes the connection is lost: the runtime opens it again, for as long as it takes.
One that refuses the password is tried once a minute. Try it without a camera: any RTSP server, and `vedette check
--probe`. Read in a child process, whose owner is the camera's thread; see agent/isolation.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from pydantic import Field

from agent.ports import Context, Source
from agent.sources._address_options import AddressOptions, camera

_Tunable = Literal["buffer_size", "max_delay", "min_port", "max_port", "pkt_size", "reorder_queue_size"]


class Options(AddressOptions):
    """A network camera that speaks RTSP."""

    schemes: ClassVar[Mapping[str, int]] = {"rtsp": 554, "rtsps": 322}
    type: Literal["rtsp"] = Field(description="a network camera that speaks RTSP")
    url: str = Field(description="rtsp://HOST/PATH or rtsps://HOST/PATH, without user and password")
    transport: Literal["tcp", "udp", "udp_multicast", "http"] = Field(
        "tcp",
        description="tcp: nothing is lost on the way; udp and udp_multicast: for cameras that have nothing else, or a "
        "radio link; http: through a firewall, where the camera offers it",
    )
    ffmpeg: dict[_Tunable, int] | None = Field(
        None,
        description="options of FFmpeg's RTSP reader, for the odd camera: buffer_size, max_delay, min_port, max_port, "
        "pkt_size, reorder_queue_size",
    )


AT_ONCE: Final = {"analyzeduration": "1", "fpsprobesize": "0", "probesize": "32"}
"""Its description tells all that is needed. FFmpeg would watch it for seconds, and then hand out what it saw."""


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    # Only the picture is set up: sound would be sent, and thrown away.
    picture = {"rtsp_transport": options.transport, "allowed_media_types": "video"}
    own: dict[str, str] = {name: str(value) for name, value in (options.ffmpeg or {}).items()}
    return camera(options, context, {**picture, **AT_ONCE, **own})
