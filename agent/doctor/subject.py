"""What a configuration speaks of: hosts, secrets in files, folders, cameras of this machine. No state."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.config import Config
from agent.options import Options, Secret
from agent.sinks._file_options import FileOptions

_LOCAL_CAMERAS = frozenset({"v4l2", "picamera", "csi"})
_LIVE_CAMERAS = _LOCAL_CAMERAS | {"rtsp", "mjpeg"}


@dataclass(frozen=True, slots=True)
class Subject:
    """The configuration in the doctor's words."""

    hosts: tuple[str, ...]
    """Each once: of the API, the sinks and the cameras."""
    secrets: tuple[Path, ...]
    """Files that hold one."""
    folders: tuple[Path, ...]
    """That the agent writes to, the state folder first."""
    live_cameras: int
    local_cameras: frozenset[str]
    """Parts of the check that are devices of this machine, which only one program at a time can open."""
    gpu: bool
    """Whether the on-device model runs on it."""


def of_config(config: Config, base_dir: Path, state_dir: Path) -> Subject:
    """What `config` speaks of; relative paths in it begin at `base_dir`."""
    kinds = [str(getattr(camera.source, "type", "")) for camera in config.cameras]
    files = [sink.path for sink in config.sinks if isinstance(sink, FileOptions)]
    folders = [state_dir, *(base_dir / file.parent for file in files)]
    if config.snapshots is not None:
        folders.append(base_dir / config.snapshots.folder)
    secrets = [base_dir / secret.file for secret in _secrets(config) if secret.file is not None]
    return Subject(
        hosts=tuple(dict.fromkeys(host for host in _hosts(config) if host)),
        secrets=tuple(dict.fromkeys(secrets)),
        folders=tuple(folders),
        live_cameras=sum(kind in _LIVE_CAMERAS for kind in kinds),
        local_cameras=frozenset(
            f"camera {camera.name}"
            for camera, kind in zip(config.cameras, kinds, strict=True)
            if kind in _LOCAL_CAMERAS
        ),
        gpu=getattr(config.engines.local, "type", "") == "tensorrt",
    )


def _hosts(config: Config) -> Iterator[str]:
    """Of whatever has a `url` or a `host`, wherever it stands."""
    for options in _options(config):
        for name in ("url", "host"):
            yield _host(getattr(options, name, None))
    cloud = config.engines.cloud
    if cloud is not None:
        yield _host(getattr(cloud, "address", None))


def _host(value: Any) -> str:  # noqa: ANN401 - any field's value
    text = "" if value is None or isinstance(value, Secret) else str(value)
    try:
        return (urlsplit(text).hostname or "") if "://" in text else text
    except ValueError:
        return ""


def _secrets(config: Config) -> Iterator[Secret]:
    yield from (options for options in _options(config) if isinstance(options, Secret))


def _options(value: Any) -> Iterator[Options]:  # noqa: ANN401 - any field's value
    """`value` and all sections below it."""
    if isinstance(value, Options):
        yield value
        for name in type(value).model_fields:
            yield from _options(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _options(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _options(item)
