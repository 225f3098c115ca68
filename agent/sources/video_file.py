"""A video file as a camera: every frame as fast as the agent takes them, or at the file's own pace like a live one.

A file that is absent, or no video, is a ConfigError: no waiting makes it one. Try it with any video:
`source: {type: video_file, path: my.mp4}`. State is owned by the camera's thread.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from agent import imaging
from agent.errors import ConfigError, SourceEnded, SourceLost
from agent.flow import Pixels
from agent.options import Options as BaseOptions
from agent.options import Positive
from agent.ports import Context, Source

_DEFAULT_FPS = 25.0


class Options(BaseOptions):
    """A video file."""

    type: Literal["video_file"] = Field(description="a video file")
    path: Path = Field(description="the file, relative to the folder of this configuration")
    loop: bool = Field(False, description="begin again at the end, for ever")
    realtime: bool = Field(False, description="true: at the file's pace, the newest frame wins; false: every frame")
    fps: Positive | None = Field(None, description="with realtime: frames per second; left out: the file's own")


class VideoFile:
    """Reads one file, once or for ever."""

    def __init__(self, options: Options, context: Context) -> None:
        self.live = options.realtime
        self.pace_fps: float | None = None
        self._options = options
        self._path = context.base_dir / options.path
        self._video: imaging.Video | None = None
        self._read_any = False

    def open(self) -> None:
        """Open the file. Raises ConfigError."""
        try:
            self._path.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror}; check the path") from error
        try:
            self._video = imaging.open_video(self._path)
        except SourceLost as error:
            raise ConfigError(str(error)) from error
        if self._options.realtime:
            self.pace_fps = self._options.fps or self._video.fps or _DEFAULT_FPS

    def read(self) -> Pixels:
        """See Source. Raises SourceEnded, and ConfigError for a video without a single picture."""
        pixels = self._video.read() if self._video else None
        if pixels is None and self._options.loop:
            self.close()
            self.open()
            pixels = self._video.read() if self._video else None
        if pixels is None:
            if not self._read_any:
                raise ConfigError(f"{self._path}: holds no picture that can be decoded")
            raise SourceEnded(f"{self._path} has ended")
        self._read_any = True
        return pixels

    def close(self) -> None:
        """Close the file."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def __repr__(self) -> str:
        return f"<VideoFile {self._path} {'open' if self._video else 'closed'}>"


def build(options: Options, context: Context) -> Source:
    """The plugin's entry."""
    return VideoFile(options, context)
