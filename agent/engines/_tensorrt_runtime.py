"""An engine of TensorRT, ready to run: its tensors have a place each in the machine's memory and in the GPU's.

The picture is written into memory that the GPU's copying hardware reads without a detour. Used by the lane's thread.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.engines import _onnx_model, _tensorrt_library
from agent.engines._runtime import Tensor
from agent.engines._tensorrt_cuda import Cuda, Mirror
from agent.errors import EngineBroken

_READS: Final[Mapping[str, np.dtype[Any]]] = {"FLOAT": np.dtype(np.float32), "HALF": np.dtype(np.float16)}
_GIVES: Final[Mapping[str, np.dtype[Any]]] = {
    **_READS,
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
}
"""By the names of TensorRT's data types."""


class Foreign(EngineBroken):
    """It is no engine, or one of another TensorRT or another GPU."""


class Plan:
    """One engine and its one context of execution."""

    def __init__(self, plan: bytes, file: Path, size: tuple[int, int], metadata: Mapping[str, Any]) -> None:
        """Raises EngineBroken.

        Args:
            plan: the engine, serialised.
            file: which people know.
            size: width and height for an input that takes any.
            metadata: what the exporter wrote.
        """
        self.metadata = metadata
        self._file = file
        self._trt = _tensorrt_library.library()
        self._heard = _tensorrt_library.listener(self._trt)
        self._cuda = Cuda()
        self._mirrors: dict[str, Mirror] = {}
        try:
            self._runtime = _tensorrt_library.made(self._trt.Runtime, self._heard)
            self._engine = self._read(plan)
            self._context = self._prepared()
            self.input, self.outputs = self._tensors(size)
        except EngineBroken:
            self.close()
            raise

    def _read(self, plan: bytes) -> Any:  # noqa: ANN401 - untyped library
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise Foreign(
                f"{self._file}: is no engine for TensorRT {self._trt.__version__} on {self._cuda.gpu().name}: "
                f"{self._heard.reason()}; give the .onnx file it was made from, and the engine is built here"
            )
        return engine

    def _prepared(self) -> Any:  # noqa: ANN401 - untyped library
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineBroken(f"{self._file}: cannot be prepared to run: {self._heard.reason()}")
        return context

    def _tensors(self, size: tuple[int, int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The input and the outputs, with memory bound to each."""
        engine, context = self._engine, self._context
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        entries = [name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        if len(entries) != 1:
            raise EngineBroken(f"{self._file}: takes {len(entries)} inputs, not one picture")
        (entry,) = entries
        given = [axis if axis >= 0 else None for axis in engine.get_tensor_shape(entry)]
        shape = _onnx_model.settled(given, size, self._file)
        if not context.set_input_shape(entry, shape):
            raise EngineBroken(f"{self._file}: takes no picture of {list(shape)}: {self._heard.reason()}")
        picture = self._bound(entry, shape, _READS)
        return picture, tuple(
            self._bound(name, tuple(context.get_tensor_shape(name)), _GIVES) for name in names if name != entry
        )

    def _bound(self, name: str, shape: tuple[int, ...], known: Mapping[str, np.dtype[Any]]) -> Tensor:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in known:
            raise EngineBroken(f"{self._file}: {name} is of {kind}, which is none of: {', '.join(known)}")
        if min(shape) < 1:
            raise EngineBroken(f"{self._file}: the size of {name} is not known before it runs; export without NMS")
        if self._engine.get_tensor_format(name) != self._trt.TensorFormat.LINEAR:
            raise EngineBroken(f"{self._file}: {name} has a memory layout of its own; build it with linear tensors")
        self._mirrors[name] = mirror = self._cuda.mirror(shape, known[kind])
        self._context.set_tensor_address(name, mirror.address)
        return Tensor(name, shape, known[kind])

    def buffer(self) -> NDArray[Any]:
        """See Runtime."""
        picture: NDArray[Any] = self._mirrors[self.input.name].host[0]
        return picture

    def run(self) -> tuple[NDArray[np.generic], ...]:
        """See Runtime."""
        cuda, results = self._cuda, [self._mirrors[output.name] for output in self.outputs]
        cuda.enter()
        cuda.upload(self._mirrors[self.input.name])
        if not self._context.execute_async_v3(cuda.stream):
            raise EngineBroken(f"{self._file}: failed to run: {self._heard.reason()}")
        for result in results:
            cuda.download(result)
        cuda.wait()
        return tuple(result.host[0] for result in results)

    def close(self) -> None:
        """See Runtime. What TensorRT has goes first: it frees memory of the GPU in its turn."""
        self._context = self._engine = self._runtime = None
        self._mirrors.clear()
        self._cuda.close()
