"""A folder of pictures as a camera: each once, in the order of their names, as fast as the agent takes them.

A picture that cannot be decoded is counted and left out. 16-bit and grey pictures become 8-bit colour. A folder that
is absent, or holds no picture, is a ConfigError. Try it: `source: {type: image_folder, path: my-pictures}`.
With `watch` it never ends: pictures that appear later are read as they come, and an absent folder is waited for.
State is owned by the camera's thread.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from agent import imaging
from agent.errors import ConfigError, SourceAbsent, SourceEnded, SourceLost
from agent.flow import Pixels
from agent.options import Options as BaseOptions
from agent.ports import Context, Source
from agent.sources._arrivals import Arrivals

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
LOOK_EVERY_S: Final = 1.0
"""Between two listings of a folder that is watched."""
_STEP_S: Final = 0.25
"""The longest that a `read` waits."""


class Options(BaseOptions):
    """A folder of pictures."""

    type: Literal["image_folder"] = Field(description="a folder of pictures")
    path: Path = Field(description="the folder, relative to the folder of this configuration")
    loop: bool = Field(False, description="begin again after the last picture, for ever")
    watch: bool = Field(
        False, description="never end: pictures that appear later are read once they are whole, the oldest first"
    )

    @model_validator(mode="after")
    def _one_way_to_go_on(self) -> "Options":
        if self.loop and self.watch:
            raise ValueError("give either loop or watch: one begins again, the other waits for what is new")
        return self


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


class WatchedFolder:
    """Reads the pictures of one folder, and those that come. What it has read it knows over a `close`."""

    live = False
    pace_fps: float | None = None

    def __init__(self, options: Options, context: Context) -> None:
        self._folder = context.base_dir / options.path
        self._clock = context.clock
        self._trial = context.trial
        self._arrivals = Arrivals(self._folder, SUFFIXES)
        self._open = False
        self._next_look_s = 0.0
        self._never = threading.Event()

    def open(self) -> None:
        """List the folder for the first time. Raises SourceAbsent, ConfigError: it is no folder."""
        if self._folder.is_file():
            raise ConfigError(f"{self._folder}: is a file; name a folder of pictures")
        try:
            self._look()
        except OSError as error:
            raise SourceAbsent(
                f"{self._folder}: cannot be read: {error.strerror}; create or mount it, or name another folder"
            ) from error
        self._open = True

    def read(self) -> Pixels | None:
        """See Source. Raises FrameUnreadable, SourceLost (the folder is gone), in a trial SourceEnded."""
        if not self._open:
            raise SourceLost(f"{self._folder} is not open")
        path = self._arrivals.pop()
        if path is not None:
            return imaging.read_image(path)
        wait_s = self._next_look_s - self._clock.now()
        if wait_s > 0:
            self._clock.wait(self._never, min(wait_s, _STEP_S))
            return None
        try:
            self._look()
        except OSError as error:
            raise SourceLost(f"{self._folder}: is gone: {error.strerror}; is it still mounted?") from error
        return self._first_of_a_trial() if self._trial else None

    def _look(self) -> None:
        self._arrivals.look()
        self._next_look_s = self._clock.now() + LOOK_EVERY_S

    def _first_of_a_trial(self) -> Pixels:
        """A check does not wait for pictures to come. Raises SourceEnded, FrameUnreadable."""
        path = self._arrivals.pop()
        if path is None:
            raise SourceEnded(f"{self._folder}: holds no whole picture yet ({', '.join(SUFFIXES)}); put one there")
        return imaging.read_image(path)

    def close(self) -> None:
        """Nothing is held open."""
        self._open = False

    def __repr__(self) -> str:
        return f"<WatchedFolder {self._folder}>"


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    return WatchedFolder(options, context) if options.watch else ImageFolder(options, context)
