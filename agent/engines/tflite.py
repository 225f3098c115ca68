"""On-device models through LiteRT (ai-edge-litert), or tflite-runtime where that is what the device has.

Talks to nothing but the CPU. A file that is no TFLite model, or none that is known here, is refused in `open` with the
reason; `vedette check --probe` runs one inference. State is owned by the one thread of the local lane.
"""

import logging
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agent.engines import _files, _local, _metadata, _rehearsal
from agent.engines._runtime import Quantisation, Runtime, Tensor
from agent.errors import EngineBroken
from agent.flow import Route
from agent.package import ModelPackage
from agent.ports import Context, Engine
from agent.words import pip_install

ROUTE: Final = Route.LOCAL
_log = logging.getLogger(__name__)


class Options(_local.CpuOptions):
    """An on-device model in a .tflite file."""

    type: Literal["tflite"] = Field(description="a .tflite model on this device's CPU")


class Interpreter:
    """One interpreter; one thread."""

    def __init__(self, file: Path, threads: int) -> None:
        """Raises EngineBroken."""
        self._file = file
        self._interpreter = _load(file, threads)
        try:
            self.input = _tensor(self._interpreter.get_input_details()[0])
            details = self._interpreter.get_output_details()
        except (ValueError, IndexError) as error:  # such as a name that is no text
            raise EngineBroken(f"{file}: says nothing of use about its inputs and outputs: {error}") from error
        self.outputs = tuple(_tensor(detail) for detail in details)
        self.metadata = _metadata_inside(file)
        self._view = self._interpreter.tensor(self._interpreter.get_input_details()[0]["index"])
        self._indices = tuple(int(detail["index"]) for detail in details)

    def buffer(self) -> NDArray[Any]:
        """See Runtime."""
        view: NDArray[Any] = self._view()[0]
        return view

    def run(self) -> tuple[NDArray[np.generic], ...]:
        """See Runtime. Copies: the interpreter refuses to run while anything, be it a traceback, holds a view."""
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise EngineBroken(f"{self._file}: failed to run: {error}") from error
        return tuple(self._interpreter.get_tensor(index)[0] for index in self._indices)

    def close(self) -> None:
        """See Runtime."""
        self._interpreter = self._view = None  # the input's view holds the interpreter, too


def _tensor(detail: dict[str, Any]) -> Tensor:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    return Tensor(str(detail["name"]), shape, np.dtype(detail["dtype"]), Quantisation(float(scale), int(zero_point)))


def _load(file: Path, threads: int) -> Any:  # noqa: ANN401 - untyped library
    try:
        is_tflite = _files.is_tflite(file)
    except OSError as error:
        raise EngineBroken(f"{file}: cannot be read: {error.strerror}") from error
    if not is_tflite:
        raise EngineBroken(f"{file}: is not a TFLite model (bytes 4 to 8 of one are TFL3); export the model as .tflite")
    interpreter_class = _interpreter_class()
    try:
        interpreter = interpreter_class(model_path=str(file), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, SystemError) as error:
        reason = str(error).splitlines()[0] if str(error) else "the runtime gives no reason"
        raise EngineBroken(
            f"{file}: cannot be loaded; it may be cut short or need other operators: {reason}"
        ) from error
    return interpreter


def _interpreter_class() -> Any:  # noqa: ANN401 - untyped libraries
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError as error:
            raise EngineBroken(f"no TFLite runtime is installed; run: {pip_install('ai-edge-litert')}") from error
    return Interpreter


def _metadata_inside(file: Path) -> Mapping[str, Any]:
    """What is in the zip archive that exporters append to the model; empty when there is none to be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in filter(_may_be_metadata, archive.infolist()):
                written = _metadata.parsed(_text(archive, entry))
                if isinstance(written, dict):
                    return written
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        _log.debug("%s: no metadata in it: %s", file, error)  # no archive, a damaged one, or one with a password
    return {}


def _may_be_metadata(entry: zipfile.ZipInfo) -> bool:
    small = entry.file_size <= _metadata.UP_TO_BYTES
    plain = entry.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    return entry.filename.endswith((".json", ".txt")) and small and plain


def _text(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    with archive.open(entry) as opened:
        return opened.read(_metadata.UP_TO_BYTES).decode("utf-8", "replace")


def load(found: ModelPackage, threads: int, _: Context) -> Runtime:
    """A .tflite file, ready to run. Raises EngineBroken."""
    return Interpreter(found.file, threads)


def _rehearse(found: ModelPackage, context: Context) -> int:
    return _rehearsal.threads(found, "tflite", _interpreter_class().__module__, context)


def build(options: Options, context: Context) -> Engine:
    """The plugin's entry."""
    return _local.Local(options, context, load, runtime="tflite", rehearse=_rehearse)
