"""A GPU where there is none: stand-ins for its driver (compiled from C) and for TensorRT (see standins/)."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.engines import _tensorrt_cuda
from agent.errors import EngineBroken

_STANDINS = Path(__file__).resolve().parent / "standins"
MISSING = shutil.which("gcc") is None
REASON = "needs gcc, to make what stands in for a GPU's driver (Debian: apt install gcc libc6-dev)"


def why_no_real_one() -> str:
    """Why TensorRT itself cannot run here; empty where it can."""
    if importlib.util.find_spec("tensorrt") is None:
        return "needs TensorRT's Python bindings (on a Jetson: python3-libnvinfer) and an NVIDIA GPU"
    try:
        _tensorrt_cuda.Cuda().close()
    except EngineBroken as error:
        return f"needs an NVIDIA GPU: {error}"
    return ""


class Gpu:
    """The stand-ins in place, for this process and those that it starts, until the patch is undone."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        """`folder`: where the driver is made, once."""
        self._patch = patch
        driver = folder / "libcuda.so.1"
        if not driver.is_file():
            flags = ["-O1", "-Wall", "-Werror", "-shared", "-fPIC"]
            subprocess.run(["gcc", *flags, "-o", driver, _STANDINS / "cuda.c"], check=True)
        patch.setattr(_tensorrt_cuda, "_LIBRARY", str(driver))
        patch.setenv("STANDIN_CUDA", str(driver))
        patch.setenv("LD_LIBRARY_PATH", str(folder))  # whom this process starts finds it by its usual name
        patch.setenv("PYTHONPATH", str(_STANDINS))
        self._driver = ctypes.CDLL(str(driver))
        self._before = self._driver.standin_left()
        self.like()

    def like(self, **how: str) -> None:
        """Let it be otherwise from now on: tensorrt, gpu, build, run, cuda_fails; see the stand-ins."""
        for name, value in how.items():
            self._patch.setenv(f"STANDIN_{name.upper()}", value)
        spec = importlib.util.spec_from_file_location("tensorrt", _STANDINS / "tensorrt" / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._patch.setitem(sys.modules, "tensorrt", module)

    @property
    def left(self) -> int:
        """How much of the GPU was taken since, and not given back."""
        return int(self._driver.standin_left() - self._before)
