"""Stands in for TensorRT where there is no NVIDIA GPU: those calls of its Python API that the agent makes.

An engine is the .onnx file with a header, and ONNX Runtime runs it, so that real weights pass through the agent's own
code. The names, arguments and kinds of results are those of the real bindings (8.6, 10.13 and 11.4 were read).
Variables of the environment say what it shall be like:
STANDIN_TENSORRT: the version; 8 has no monitor, 11 no precision flags. STANDIN_BUILD: how a build goes, see Builder.
STANDIN_CUDA: the library that stands in for the GPU's driver.
"""

import ctypes
import json
import os
import signal
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

__version__ = os.environ.get("STANDIN_TENSORRT", "10.3.0")
_MAJOR = int(__version__.split(".")[0])
_MAGIC = b"standin\n"
_driver = ctypes.CDLL(os.environ["STANDIN_CUDA"])


def _gpu() -> str:
    return os.environ.get("STANDIN_GPU", "Orin")


def _members(name: str, **members: int) -> Any:
    return IntEnum(name, members)


Severity = _members("Severity", INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)
DataType = _members("DataType", FLOAT=0, HALF=1, INT8=2, INT32=3, BOOL=4, UINT8=5, INT64=8)
TensorIOMode = _members("TensorIOMode", NONE=0, INPUT=1, OUTPUT=2)
TensorFormat = _members("TensorFormat", LINEAR=0, CHW4=3)
MemoryPoolType = _members("MemoryPoolType", WORKSPACE=0)
BuilderFlag = _members("BuilderFlag", **({"DEBUG": 1} if _MAJOR >= 11 else {"FP16": 0, "DEBUG": 1}))
NetworkDefinitionCreationFlag = _members(
    "NetworkDefinitionCreationFlag", **({"STRONGLY_TYPED": 1} if _MAJOR >= 11 else {"EXPLICIT_BATCH": 0})
)
_TYPES = {
    "tensor(float)": (DataType.FLOAT, np.float32),
    "tensor(float16)": (DataType.HALF, np.float16),
    "tensor(int8)": (DataType.INT8, np.int8),
    "tensor(int32)": (DataType.INT32, np.int32),
    "tensor(int64)": (DataType.INT64, np.int64),
    "tensor(uint8)": (DataType.UINT8, np.uint8),
}


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity
    Severity = Severity
    begun = False

    def __init__(self) -> None:
        self.begun = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


if _MAJOR >= 10:

    class IProgressMonitor:
        begun = False

        def __init__(self) -> None:
            self.begun = True


def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
    assert logger.begun, "the listener's own part was not begun"
    assert namespace == ""
    return True


def _session(onnx: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def _shape(entry: Any) -> tuple[int, ...]:
    return tuple(axis if isinstance(axis, int) else -1 for axis in entry.shape)


class _Entry:
    def __init__(self, entry: Any) -> None:
        self.name, self.shape = entry.name, _shape(entry)


class _Network:
    def __init__(self) -> None:
        self.onnx = b""
        self.inputs: list[Any] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> _Entry:
        return _Entry(self.inputs[index])


class _ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: _Network, logger: ILogger) -> None:
        assert logger.begun
        self._network = network
        self._errors: list[_ParserError] = []

    def parse_from_file(self, model: str) -> bool:
        assert isinstance(model, str)
        try:
            self._network.onnx = Path(model).read_bytes()
            self._network.inputs = _session(self._network.onnx).get_inputs()
        except (state.Fail, state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument) as error:
            self._errors.append(_ParserError(f"In node 3 with name: stem:\n {error}"))
            return False
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> _ParserError:
        return self._errors[index]


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> memoryview:
        return memoryview(b"timings " + __version__.encode())


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - the library's names
        assert min == opt == max
        self.shapes[input] = tuple(min)


class _Config:
    def __init__(self) -> None:
        self.flags: set[int] = set()
        self.limits: dict[int, int] = {}
        self.profiles: list[_Profile] = []
        self.progress_monitor: Any = None
        self._cache: _TimingCache | None = None

    def set_memory_pool_limit(self, pool: int, pool_size: int) -> None:
        self.limits[pool] = pool_size

    def set_flag(self, flag: int) -> None:
        self.flags.add(flag)

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache | None:
        if serialized_timing_cache and not serialized_timing_cache.startswith(b"timings "):
            return None
        return _TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        assert isinstance(cache, _TimingCache)
        self._cache = cache
        return not ignore_mismatch

    def get_timing_cache(self) -> _TimingCache | None:
        return self._cache


class Builder:
    """STANDIN_BUILD: fails, crashes, is killed, prints; or so many seconds, for ever in a phase if below 0."""

    def __init__(self, logger: ILogger) -> None:
        assert logger.begun
        if os.environ.get("STANDIN_BUILD") == "no builder":
            logger.log(Severity.ERROR, "[builder.cpp] CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags: int = 0) -> _Network:
        assert flags == (1 if _MAJOR < 11 else 0), "an implicit batch"
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> memoryview | None:
        assert config.limits == {MemoryPoolType.WORKSPACE: 1 << 30}
        assert config.get_timing_cache() is not None
        shapes = {name: shape for profile in config.profiles for name, shape in profile.shapes.items()}
        for entry in network.inputs:
            assert (-1 in _shape(entry)) == (entry.name in shapes), "an open axis needs a profile, and only that"
        if not self._takes_its_time(config.progress_monitor, os.environ.get("STANDIN_BUILD", "")):
            self._logger.log(Severity.ERROR, "Error Code 10: Could not find any implementation for node stem")
            return None
        precision = "fp16" if any(flag.name == "FP16" for flag in config.flags) else "fp32"
        head = {"version": __version__, "gpu": _gpu(), "precision": precision, "shapes": shapes}
        return memoryview(_MAGIC + json.dumps(head).encode() + b"\n" + network.onnx)

    def _takes_its_time(self, monitor: Any, how: str) -> bool:
        self._logger.log(Severity.WARNING, "a warning, which is of no interest")
        if how == "crashes":
            print("stack smashing detected", flush=True)
            os.abort()
        if how == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "fails":
            return False
        if monitor is not None:
            assert monitor.begun
            monitor.phase_start("Building Engine", None, 2)
            monitor.phase_start("Timing Graph Nodes", "Building Engine", 4)
            for step in range(4):
                time.sleep(float(how or 0) / 4)
                assert monitor.step_complete("Timing Graph Nodes", step) is True
            monitor.phase_finish("Timing Graph Nodes")
            monitor.step_complete("Building Engine", 0)
            monitor.phase_finish("Building Engine")
        else:
            time.sleep(float(how or 0))
        return True


class ICudaEngine:
    def __init__(self, onnx: bytes, head: dict[str, Any]) -> None:
        self._session = _session(onnx)
        self._shapes = {name: tuple(shape) for name, shape in head["shapes"].items()}
        self._inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self._tensors = {**self._inputs, **{entry.name: entry for entry in self._session.get_outputs()}}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return _shape(self._tensors[name])

    def get_tensor_dtype(self, name: str) -> Any:
        return _TYPES[self._tensors[name].type][0]

    def get_tensor_format(self, name: str) -> Any:
        assert name in self._tensors
        return TensorFormat.LINEAR

    def create_execution_context(self) -> "IExecutionContext | None":
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._outputs: dict[str, Any] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        built_for = self._engine._shapes.get(name, self._engine.get_tensor_shape(name))
        if tuple(shape) != built_for:
            return False
        self._shapes[name] = tuple(shape)
        picture = np.zeros(shape, _TYPES[self._engine._inputs[name].type][1])
        names = [entry.name for entry in self._engine._session.get_outputs()]
        self._outputs = dict(zip(names, self._engine._session.run(None, {name: picture}), strict=True))
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name] if name in self._shapes else tuple(self._outputs[name].shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert isinstance(memory, int)
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle, "the stream on which everything waits for everything"
        current = ctypes.c_void_p()
        _driver.cuCtxGetCurrent(ctypes.byref(current))
        assert current.value, "this thread has no context of the GPU"
        if os.environ.get("STANDIN_RUN") == "fails":
            return False
        if os.environ.get("STANDIN_RUN") == "crashes":
            os.abort()
        given = self._engine._session.run(None, {name: self._memory(name) for name in self._shapes})
        for name, value in zip(self._outputs, given, strict=True):
            ctypes.memmove(self._addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)
        return True

    def _memory(self, name: str) -> Any:
        dtype, shape = np.dtype(_TYPES[self._engine._inputs[name].type][1]), self._shapes[name]
        size_bytes = int(np.prod(shape)) * dtype.itemsize
        return np.frombuffer(ctypes.string_at(self._addresses[name], size_bytes), dtype).reshape(shape)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        assert logger.begun
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        plan = bytes(serialized_engine)
        if not plan.startswith(_MAGIC):
            self._refuse("Error Code 1: Serialization (magicTag does not match)")
            return None
        head, _, onnx = plan[len(_MAGIC) :].partition(b"\n")
        about = json.loads(head)
        if about["version"] != __version__:
            self._refuse(f"Error Code 1: expecting library version {__version__} got {about['version']}")
            return None
        if about["gpu"] != _gpu():
            self._refuse("The engine plan file is generated on an incompatible device")
            return None
        try:
            return ICudaEngine(onnx, about)
        except (state.Fail, state.InvalidProtobuf, state.InvalidGraph):
            self._refuse("Error Code 4: Deserialization (the plan is cut short)")
            return None

    def _refuse(self, why: str) -> None:
        self._logger.log(Severity.ERROR, why)
