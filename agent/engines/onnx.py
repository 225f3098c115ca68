"""On-device models through ONNX Runtime, on the CPU.

The session reads the picture from memory that is ours, and writes into memory that is ours wherever the model states
the sizes of what it gives. `vedette check --probe` runs one inference. State is owned by the one thread of the local
lane.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agent.engines import _local, _onnx_model, _rehearsal
from agent.engines._runtime import Runtime, Tensor
from agent.errors import EngineBroken
from agent.flow import Route
from agent.package import ModelPackage
from agent.ports import Context, Engine
from agent.words import pip_install

ROUTE: Final = Route.LOCAL
_SILENT = 4
"""Log level: what goes wrong comes as an exception, too."""
_CODES = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?")
_NO_MODEL: Final = ("INVALID_PROTOBUF", "No graph was found")
_READS: Final[Mapping[str, np.dtype[Any]]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
}
_GIVES: Final[Mapping[str, np.dtype[Any]]] = {
    **_READS,
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
}
"""Types of tensors for which we bring the memory."""


class Options(_local.CpuOptions):
    """An on-device model in an .onnx file."""

    type: Literal["onnx"] = Field(
        description="an .onnx model on this device's CPU, through ONNX Runtime (the extra onnx)"
    )


class Session:
    """One session of ONNX Runtime; one thread."""

    def __init__(self, found: ModelPackage, threads: int) -> None:
        """Raises EngineBroken."""
        library = _library()
        self._file = found.file
        self._failures = _failures()
        self._session = self._load(library, threads)
        self.metadata: Mapping[str, Any] = _onnx_model.metadata(found.file)
        try:
            self.input = _input(self._session.get_inputs(), found, self.metadata)
            self._names = [output.name for output in self._session.get_outputs()]
        except UnicodeDecodeError as error:
            raise EngineBroken(f"{found.file}: has a tensor whose name is no text; it is damaged") from error
        self._picture = np.zeros(self.input.shape, self.input.dtype)
        self._results: dict[str, NDArray[Any]] = {}
        """The memory of those outputs whose size the model states."""
        self._binding = self._bound(library)
        self.outputs = tuple(
            Tensor(name, result.shape, result.dtype) for name, result in zip(self._names, self._run(), strict=True)
        )

    def _load(self, library: Any, threads: int) -> Any:  # noqa: ANN401 - untyped library
        try:
            settings = _settings(library, threads)
            return library.InferenceSession(str(self._file), settings, providers=["CPUExecutionProvider"])
        except self._failures as error:
            raise EngineBroken(_why_not_loaded(self._file, error)) from error

    def _bound(self, library: Any) -> Any:  # noqa: ANN401 - untyped library
        """Lets the session read the picture from our memory, and write into it what has a size that is known."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self.input.name, library.OrtValue.ortvalue_from_numpy(self._picture))
        for output in self._session.get_outputs():
            if output.type in _GIVES and all(isinstance(axis, int) for axis in output.shape):
                result = np.zeros(output.shape, _GIVES[output.type])
                binding.bind_output(output.name, "cpu", 0, _GIVES[output.type], output.shape, result.ctypes.data)
                self._results[output.name] = result
        return binding

    def buffer(self) -> NDArray[Any]:
        """See Runtime."""
        picture: NDArray[Any] = self._picture[0]
        return picture

    def run(self) -> tuple[NDArray[np.generic], ...]:
        """See Runtime."""
        return tuple(result[0] for result in self._run())

    def _run(self) -> list[NDArray[Any]]:
        try:
            for name in self._names:
                if name not in self._results:
                    self._binding.bind_output(name)  # else it would have to be as large as in the last run
            self._session.run_with_iobinding(self._binding)
            given = zip(self._names, self._binding.get_outputs(), strict=True)
            return [self._results[name] if name in self._results else value.numpy() for name, value in given]
        except self._failures as error:
            raise EngineBroken(f"{self._file}: failed to run: {_first_line(error)}") from error

    def close(self) -> None:
        """See Runtime."""
        self._session = self._binding = None


def _settings(library: Any, threads: int) -> Any:  # noqa: ANN401 - untyped library
    """Threads that wait between operators sleep.

    By default they spin: on two cores beside a camera's thread that took about twice the processor's time, for runs
    that were no faster (yolov8n at 320).
    """
    settings = library.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = _SILENT
    return settings


def _input(inputs: Sequence[Any], found: ModelPackage, metadata: Mapping[str, Any]) -> Tensor:
    """The one input, as large as it is going to be. Raises EngineBroken."""
    if len(inputs) != 1:
        raise EngineBroken(f"{found.file}: takes {len(inputs)} inputs, not one picture")
    (entry,) = inputs
    if entry.type not in _READS:
        raise EngineBroken(f"{found.file}: takes {entry.type}, and a picture is tensor(float) or tensor(float16) here")
    shape = tuple(axis if isinstance(axis, int) else None for axis in entry.shape)
    return Tensor(
        entry.name, _onnx_model.settled(shape, _onnx_model.size_of(found, metadata), found.file), _READS[entry.type]
    )


def _library() -> Any:  # noqa: ANN401 - untyped library
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineBroken(f"ONNX Runtime is not installed ({error}); run: {pip_install('vedette[onnx]')}") from error
    return onnxruntime


def _failures() -> tuple[type[Exception], ...]:
    """What the library raises; its exceptions have no common ancestor but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, RuntimeError, ValueError)


def _why_not_loaded(file: Path, error: Exception) -> str:
    if not file.is_file():
        return f"{file}: is not there"
    if any(word in str(error) for word in _NO_MODEL):
        return f"{file}: is not an ONNX model, or is cut short; export the model as .onnx, or copy it again"
    reason = _first_line(error)
    return f"{file}: cannot be loaded; it may need a newer ONNX Runtime, or an export with a lower opset: {reason}"


def _first_line(error: Exception) -> str:
    """The library's own words, without its name and codes."""
    return _CODES.sub("", str(error).partition("\n")[0]) or "ONNX Runtime gives no reason"


def load(found: ModelPackage, threads: int, _: Context) -> Runtime:
    """An .onnx file, ready to run. Raises EngineBroken."""
    return Session(found, threads)


def _rehearse(found: ModelPackage, context: Context) -> int:
    return _rehearsal.threads(found, "onnx", f"onnxruntime {_library().__version__}", context)


def build(options: Options, context: Context) -> Engine:
    """The plugin's entry."""
    return _local.Local(options, context, load, runtime="onnx", rehearse=_rehearse)
