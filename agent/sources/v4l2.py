"""A camera on this machine through V4L2: USB cameras, capture cards.

A device that is absent is waited for, at boot too; one that is unplugged is lost, and found again under its name in
/dev/v4l/by-id, whatever number it gets. Never run on a camera by its authors; see docs/cameras.md. Read in a child
process, whose owner is the camera's thread; see agent/isolation. Try it: `vedette check --probe`.
"""

import logging
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from agent.errors import SourceAbsent
from agent.isolation.isolated import Isolated
from agent.isolation.reader import Recipe
from agent.ports import Context, Source
from agent.sources._live_options import LiveOptions

_log = logging.getLogger(__name__)
_READER = "agent.sources._v4l2_reader"
BY_ID: Final = Path("/dev/v4l/by-id")
"""Where udev names cameras by maker, model and serial number."""


class Options(LiveOptions):
    """A camera on this machine."""

    type: Literal["v4l2"] = Field(description="a camera on this machine, on USB mostly")
    device: str | int = Field(
        description="its path, best /dev/v4l/by-id/NAME, which stays the same when cameras are plugged in anew; or N "
        "for /dev/videoN"
    )
    width: int = Field(
        1280, ge=16, le=8192, description="pixels across; a camera that has no such size gives its nearest"
    )
    height: int = Field(720, ge=16, le=8192, description="pixels down")
    fps: float = Field(30.0, gt=0, le=240, description="frames per second that the camera is asked for")
    format: Literal["auto", "mjpg", "yuyv"] = Field(
        "auto", description="auto: yuyv, which needs no decoding, where it reaches fps, else mjpg; mjpg; yuyv"
    )

    @property
    def path(self) -> Path:
        """Of the device."""
        return Path(f"/dev/video{self.device}" if str(self.device).isdigit() else str(self.device))


def stable_name(device: Path, folder: Path = BY_ID) -> Path | None:
    """The name in `folder` that leads to a device given by its number; None: there is none, or none is needed."""
    if not device.name.startswith("video") or device.is_symlink() or not folder.is_dir():
        return None
    return next((name for name in sorted(folder.iterdir()) if name.resolve() == device), None)


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    path = options.path
    wanted = options.model_dump(include={"width", "height", "fps", "format"})

    advised = False

    def knock() -> None:
        nonlocal advised
        if not path.exists():
            raise SourceAbsent(f"{path}: no such camera; plug it in, or list them with v4l2-ctl --list-devices")
        if not advised and (name := stable_name(path)) is not None:
            _log.info("%s may get another number when cameras are plugged in anew; device: %s stays", path, name)
        advised = True

    return Isolated(
        lambda: Recipe(_READER, str(path), {"device": str(path), **wanted}),
        options.limits,
        context.clock,
        name=str(path),
        knock=knock,
    )
