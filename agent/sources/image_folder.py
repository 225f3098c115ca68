"""A folder of pictures as a camera: each once, in the order of their names, as fast as the agent takes them.

A picture that cannot be decoded is counted and left out. 16-bit and grey pictures become 8-bit colour. A folder that
is absent, or holds no picture, is a ConfigError. Try it: `source: {type: image_folder, path: my-pictures}`.
State is owned by the camera's thread.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from agent import imaging
from agent.errors import ConfigError, SourceEnded, SourceLost
from agent.flow import Pixels
from agent.options import Options as BaseOptions
from agent.ports import Context, Source

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Options(BaseOptions):
    """A folder of pictures."""

    type: Literal["image_folder"] = Field(description="a folder of pictures")
    path: Path = Field(description="the folder, relative to the folder of this configuration")
    loop: bool = Field(False, description="begin again after the last picture, for ever")


class ImageFolder:
    """Reads the pictures of one folder."""

    live = False
    pace_fps: float | None = None

    def __init__(self, options: Options, context: Context) -> None:
        self._loop = options.loop
        self._folder = context.base_dir / options.path
        self._files: tuple[Path, ...] = ()
        self._left: Iterator[Path] = iter(())
        self._readable = 0

    def open(self) -> None:
        """List the folder. Raises ConfigError when there is none, or no picture in it."""
        try:
            self._files = tuple(sorted(path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES))
        except OSError as error:
            raise ConfigError(f"{self._folder}: cannot be read: {error.strerror}; name a folder of pictures") from error
        if not self._files:
            raise ConfigError(f"{self._folder}: holds no picture ({', '.join(SUFFIXES)})")
        self._left = iter(self._files)

    def read(self) -> Pixels:
        """See Source. Raises SourceEnded, FrameUnreadable, SourceLost (a round without a picture)."""
        path = next(self._left, None)
        if path is None and self._loop:
            if self._readable == 0:
                raise SourceLost(f"{self._folder}: none of its {len(self._files)} pictures can be read")
            self._left, self._readable = iter(self._files), 0
            path = next(self._left, None)
        if path is None:
            raise SourceEnded(f"{self._folder}: that was the last picture")
        pixels = imaging.read_image(path)
        self._readable += 1
        return pixels

    def close(self) -> None:
        """Nothing is held open."""

    def __repr__(self) -> str:
        return f"<ImageFolder {self._folder} {len(self._files)} pictures>"


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    return ImageFolder(options, context)
