"""The GPU by its driver's own library (CUDA driver API, through ctypes): which one it is, and memory for tensors.

The driver's library has one name in every release, and TensorRT cannot do without it; the CUDA toolkit's has many names
and places. What both allocate is the same memory: the device's primary context. Used by one thread at a time.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.errors import EngineBroken

_LIBRARY: Final = "libcuda.so.1"
_NAME_BYTES: Final = 256
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76
"""CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, ..._COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_SLEEP_WHILE_WAITING: Final = 4
"""CU_CTX_SCHED_BLOCKING_SYNC: else a core spins for as long as the GPU works."""
_APART: Final = 1
"""CU_STREAM_NON_BLOCKING: no waiting for work of others."""
_POINTER, _ADDRESS, _SIZE, _INT = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int
_FUNCTIONS: Final[dict[str, tuple[Any, ...]]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDeviceGet": (_POINTER, _INT),
    "cuDeviceGetName": (ctypes.c_char_p, _INT, _INT),
    "cuDeviceGetAttribute": (_POINTER, _INT, _INT),
    "cuDevicePrimaryCtxSetFlags_v2": (_INT, ctypes.c_uint),
    "cuDevicePrimaryCtxRetain": (_POINTER, _INT),
    "cuDevicePrimaryCtxRelease_v2": (_INT,),
    "cuCtxSetCurrent": (_POINTER,),
    "cuStreamCreate": (_POINTER, ctypes.c_uint),
    "cuStreamSynchronize": (_POINTER,),
    "cuStreamDestroy_v2": (_POINTER,),
    "cuMemAlloc_v2": (_POINTER, _SIZE),
    "cuMemFree_v2": (_ADDRESS,),
    "cuMemAllocHost_v2": (_POINTER, _SIZE),
    "cuMemFreeHost": (_POINTER,),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, _POINTER, _SIZE, _POINTER),
    "cuMemcpyDtoHAsync_v2": (_POINTER, _ADDRESS, _SIZE, _POINTER),
    "cuGetErrorString": (_INT, _POINTER),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """What an engine is built for."""

    name: str
    compute_capability: str
    multiprocessors: int
    """Boards of one name differ in it, such as the Orin ones."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A tensor with a place in both memories."""

    host: NDArray[Any]
    """Locked in memory, so that it is copied without a detour."""
    address: int
    """In the GPU's memory."""


class Cuda:
    """The first GPU that this process may see, with one stream of work."""

    def __init__(self) -> None:
        """Raises EngineBroken."""
        self._library = _loaded()
        self._held: list[tuple[str, int]] = []
        """What is to be given back, and by which call."""
        self._call("cuInit", 0)
        self._device = self._got(_INT(), lambda device: self._call("cuDeviceGet", device, 0))
        self._library.cuDevicePrimaryCtxSetFlags_v2(self._device, _SLEEP_WHILE_WAITING)  # a wish
        self._context = self._got(
            _POINTER(), lambda context: self._call("cuDevicePrimaryCtxRetain", context, self._device)
        )
        self._held.append(("cuDevicePrimaryCtxRelease_v2", self._device))
        self.enter()
        self.stream: int = self._got(_POINTER(), lambda stream: self._call("cuStreamCreate", stream, _APART))
        self._held.append(("cuStreamDestroy_v2", self.stream))

    def enter(self) -> None:
        """Let the calling thread work with it. Raises EngineBroken."""
        self._call("cuCtxSetCurrent", self._context)

    def gpu(self) -> Gpu:
        """Which one it is. Raises EngineBroken."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", name, _NAME_BYTES, self._device)
        capability = f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}"
        return Gpu(name.value.decode(errors="replace"), capability, self._attribute(_MULTIPROCESSORS))

    def _attribute(self, number: int) -> int:
        return int(self._got(_INT(), lambda value: self._call("cuDeviceGetAttribute", value, number, self._device)))

    def mirror(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Mirror:
        """Memory for a tensor, zero at first on the host's side. Raises EngineBroken: there is too little."""
        size_bytes = int(np.prod(shape)) * dtype.itemsize
        place: int = self._got(_POINTER(), lambda out: self._call("cuMemAllocHost_v2", out, size_bytes))
        self._held.append(("cuMemFreeHost", place))
        address: int = self._got(_ADDRESS(), lambda out: self._call("cuMemAlloc_v2", out, size_bytes))
        self._held.append(("cuMemFree_v2", address))
        memory = memoryview((ctypes.c_char * size_bytes).from_address(place))
        host = np.frombuffer(memory, dtype).reshape(shape)
        host[...] = 0
        return Mirror(host, address)

    def upload(self, mirror: Mirror) -> None:
        """Put a copy to the GPU on the stream. Raises EngineBroken."""
        self._call("cuMemcpyHtoDAsync_v2", mirror.address, mirror.host.ctypes.data, mirror.host.nbytes, self.stream)

    def download(self, mirror: Mirror) -> None:
        """Put a copy from the GPU on the stream. Raises EngineBroken."""
        self._call("cuMemcpyDtoHAsync_v2", mirror.host.ctypes.data, mirror.address, mirror.host.nbytes, self.stream)

    def wait(self) -> None:
        """Until all that is on the stream is done. Raises EngineBroken."""
        self._call("cuStreamSynchronize", self.stream)

    def close(self) -> None:
        """Give everything back; never raises."""
        library = self._library
        library.cuCtxSetCurrent(self._context)
        for free, place in reversed(self._held):
            getattr(library, free)(place)
        self._held.clear()

    def _got(self, out: Any, ask: Callable[[Any], None]) -> Any:  # noqa: ANN401 - a number of the driver's
        """What `ask` has the driver write into `out`."""
        ask(ctypes.byref(out))
        return out.value

    def _call(self, name: str, *arguments: Any) -> None:  # noqa: ANN401 - numbers and places
        code = getattr(self._library, name)(*arguments)
        if code:
            raise EngineBroken(f"the GPU's driver says to {name}: {self._words(code)}")

    def _words(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(code, ctypes.byref(text))
        return f"{(text.value or b'no reason').decode(errors='replace')} ({code})"


def _loaded() -> ctypes.CDLL:
    """Raises EngineBroken."""
    try:
        driver = ctypes.CDLL(_LIBRARY)
        for name, arguments in _FUNCTIONS.items():
            getattr(driver, name).argtypes = arguments
    except (OSError, AttributeError) as error:
        raise EngineBroken(f"there is no NVIDIA GPU with a driver for CUDA 11 or newer here: {error}") from error
    return driver
