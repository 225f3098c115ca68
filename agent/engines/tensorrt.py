"""On-device models on an NVIDIA GPU, through the system's TensorRT.

An .onnx file becomes an engine for this very device: once, which takes minutes, in a process of its own. It is kept in
the agent's state folder and built again when anything that it depends on has changed. `vedette check --probe` builds
it, too, and runs one inference. State is owned by the one thread of the local lane.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from agent.engines import (
    _child,
    _files,
    _local,
    _metadata,
    _onnx_model,
    _tensorrt_cache,
    _tensorrt_cuda,
    _tensorrt_library,
    _tensorrt_runtime,
)
from agent.engines._runtime import Runtime
from agent.engines._tensorrt_cache import Cache, Recipe
from agent.errors import EngineBroken
from agent.flow import Route
from agent.package import ModelPackage
from agent.ports import Context, Engine

ROUTE: Final = Route.LOCAL
_ENGINES: Final = tuple(ending for ending, types in _files.TYPES.items() if types == ("tensorrt",))
_HEADER_BYTES: Final = 4
_BUILDER: Final = "agent.engines._tensorrt_builder"
_LONGEST_S: Final = 3600.0
"""The slowest boards take some ten minutes for a YOLOv8s; what takes longer than this hangs."""
_AS_IN_THE_FILE: Final = "as in the file"
"""From TensorRT 11 on the file says it for each tensor, and nobody else may."""
_log = logging.getLogger(__name__)


class Options(_local.LocalOptions):
    """An on-device model as an .onnx file or an engine of TensorRT."""

    type: Literal["tensorrt"] = Field(description="an .onnx model or an .engine on this device's NVIDIA GPU")
    precision: Literal["fp16", "fp32"] = Field(
        "fp16", description="of an engine that is built here from .onnx: fp16, about twice as fast, or fp32"
    )


class _Loader:
    """Makes a runtime of a model's file."""

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def load(self, found: ModelPackage, _: int, context: Context) -> Runtime:
        """Raises EngineBroken, EngineUnwanted."""
        kind = found.file.suffix.lower()
        if kind == ".onnx":
            return self._from_onnx(found, context)
        if kind in _ENGINES:
            return _from_engine(found)
        raise EngineBroken(f"{found.file}: TensorRT takes an .onnx file, or one of: {', '.join(_ENGINES)}")

    def _from_onnx(self, found: ModelPackage, context: Context) -> Runtime:
        written = _onnx_model.metadata(found.file)
        size = _onnx_model.size_of(found, written)
        cache = Cache(context.state_dir / "engines", found.file)
        try:
            wanted = self._recipe(found.file, size)
            complaint = cache.complaint(wanted)
            if complaint is None:
                try:
                    return _tensorrt_runtime.Plan(cache.engine.read_bytes(), found.file, size, written)
                except _tensorrt_runtime.Foreign as error:
                    complaint = str(error)
                    cache.drop()
            _have_built(cache, wanted, complaint, context)
            return _tensorrt_runtime.Plan(cache.engine.read_bytes(), found.file, size, written)
        except OSError as error:
            raise EngineBroken(f"{error.filename or found.file}: {error.strerror}") from error

    def _recipe(self, onnx: Path, size: tuple[int, int]) -> Recipe:
        """What an engine depends on here and now. Raises EngineBroken, OSError."""
        trt, cuda = _tensorrt_library.library(), _tensorrt_cuda.Cuda()
        try:
            gpu = cuda.gpu()
        finally:
            cuda.close()
        precision = self._precision if hasattr(trt.BuilderFlag, "FP16") else _AS_IN_THE_FILE
        return _tensorrt_cache.recipe(onnx, precision, size, tensorrt=str(trt.__version__), gpu=gpu)


def _have_built(cache: Cache, wanted: Recipe, complaint: str, context: Context) -> None:
    """Raises EngineBroken, EngineUnwanted."""
    name = f"the TensorRT engine of {cache.onnx.name}"
    took = "some minutes" if cache.took_s is None else f"{cache.took_s:.0f} s last time"
    _log.info(
        "building %s for %s, %s precision, which took %s: %s", name, wanted.gpu, wanted.precision, took, complaint
    )
    task = {"onnx": str(cache.onnx), "home": str(cache.home), "recipe": asdict(wanted)}
    try:
        _child.run(_BUILDER, task, doing=f"building {name}", limits=_child.Limits(_LONGEST_S), context=context)
    except EngineBroken as error:
        raise EngineBroken(f"{name} cannot be built: {error}") from error
    left = cache.complaint(wanted)
    if left is not None:
        raise EngineBroken(f"{name} was built, and still {left}")
    _log.info("%s was built in %.0f s, and is kept in %s", name, cache.took_s or 0.0, cache.engine)


def _from_engine(found: ModelPackage) -> Runtime:
    try:
        content = found.file.read_bytes()
    except OSError as error:
        raise EngineBroken(f"{found.file}: cannot be read: {error.strerror}") from error
    metadata, plan = split(content)
    return _tensorrt_runtime.Plan(plan, found.file, _onnx_model.size_of(found, metadata), metadata)


def split(content: bytes) -> tuple[Mapping[str, Any], bytes]:
    """An engine's file as what the exporter wrote and the engine.

    Ultralytics puts before it, as JSON, what it writes into other formats, and before that, in four bytes, the lowest
    first, how long this is.
    """
    end = _HEADER_BYTES + int.from_bytes(content[:_HEADER_BYTES], "little")
    if _HEADER_BYTES < end <= min(len(content), _metadata.UP_TO_BYTES):
        written = _metadata.parsed(content[_HEADER_BYTES:end].decode("utf-8", "replace"))
        if isinstance(written, dict):
            return written, content[end:]
    return {}, content


def build(options: Options, context: Context) -> Engine:
    """The plugin's entry."""
    return _local.Local(options, context, _Loader(options.precision).load, runtime="tensorrt")
