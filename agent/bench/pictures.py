"""Pictures without end to measure with: the drawn scene, a video again and again, or a folder's. No state."""

from collections.abc import Iterator
from pathlib import Path

from agent import plugins
from agent.errors import ConfigError, FrameUnreadable, SourceError
from agent.flow import Pixels
from agent.options import Options
from agent.ports import Context
from agent.sources import image_folder, synthetic, video_file


def pictures(source: Path | None, context: Context) -> Iterator[Pixels]:
    """Each as (height, width, 3) uint8 BGR. Raises ConfigError: there is none."""
    opened = plugins.build_source(_options(source), context)
    opened.open()
    try:
        while True:
            try:
                pixels = opened.read()
            except FrameUnreadable:
                continue
            if pixels is not None:
                yield pixels
    except SourceError as error:
        raise ConfigError(str(error)) from error
    finally:
        opened.close()


def _options(source: Path | None) -> Options:
    if source is None:
        return synthetic.Options(type="synthetic")
    path = source.absolute()
    if path.is_dir():
        return image_folder.Options(type="image_folder", path=path, loop=True)
    return video_file.Options(type="video_file", path=path, loop=True)
