"""Builds an engine from an .onnx file, in a process that does nothing else (_child.py).

State: the one thread's, but for what TensorRT's threads report.
"""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from agent import folder
from agent.clock import SystemClock
from agent.engines import (
    _child,
    _onnx_model,
    _tensorrt_cache,
    _tensorrt_library,
    _tensorrt_monitor,
    _tensorrt_runtime,
)
from agent.engines._tensorrt_cache import Cache, Recipe
from agent.errors import EngineBroken

_WORKSPACE_BYTES: Final = 1 << 30
"""What a layer may use beside its tensors. By itself it is all of the GPU's memory, and a Jetson has no other."""
FP16: Final = "fp16"


def main(task: Mapping[str, Any]) -> None:
    """Returns when the engine is in its place, and has run once.

    `task`: onnx and home (paths), and recipe (a Recipe's fields). Raises EngineBroken.
    """
    wanted, onnx, home = Recipe(**task["recipe"]), Path(task["onnx"]), Path(task["home"])
    cache, clock = Cache(home, onnx), SystemClock()
    try:
        folder.make_folder(home)
        with _alone(home):
            if cache.complaint(wanted) is None:
                return  # another process has built it meanwhile
            _tensorrt_cache.tidy(home)
            begun_s = clock.now()
            plan = _Build(onnx, wanted).plan(home / "timing.cache")
            _try(plan, onnx, wanted)
            cache.keep(plan, wanted, clock.now() - begun_s)
    except OSError as error:
        raise EngineBroken(f"{error.filename or home}: {error.strerror}") from error


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One build at a time: two want twice the memory. Raises OSError."""
    with (home / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _child.say({"doing": "waiting for another build to end"})
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _try(plan: bytes, onnx: Path, wanted: Recipe) -> None:
    """Load it and run it once: one that crashes does so here, and not in the agent. Raises EngineBroken."""
    _child.say({"doing": "trying it"})
    runtime = _tensorrt_runtime.Plan(plan, onnx, (wanted.width, wanted.height), {})
    try:
        runtime.run()
    finally:
        runtime.close()


class _Build:
    """One network on its way to an engine."""

    def __init__(self, onnx: Path, wanted: Recipe) -> None:
        """Raises EngineBroken."""
        self._trt = trt = _tensorrt_library.library()
        self._heard = _tensorrt_library.listener(trt)
        self._builder = _tensorrt_library.made(trt.Builder, self._heard)
        self._network = self._parsed(onnx)
        self._config = self._builder.create_builder_config()
        self._config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
        if wanted.precision == FP16:
            self._config.set_flag(trt.BuilderFlag.FP16)
        self._settle((wanted.width, wanted.height), onnx)
        if hasattr(trt, "IProgressMonitor"):  # from TensorRT 10 on
            self._config.progress_monitor = _tensorrt_monitor.monitor(trt, lambda words: _child.say({"doing": words}))

    def _parsed(self, onnx: Path) -> Any:  # noqa: ANN401 - untyped library
        trt = self._trt
        explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)  # TensorRT 11 has nothing else
        network = self._builder.create_network(0 if explicit is None else 1 << int(explicit))
        parser = trt.OnnxParser(network, self._heard)
        if not parser.parse_from_file(str(onnx)):
            said = [" ".join(parser.get_error(number).desc().split()) for number in range(parser.num_errors)]
            raise EngineBroken(f"TensorRT {trt.__version__} cannot read it: {'; '.join(said) or self._heard.reason()}")
        if network.num_inputs != 1:
            raise EngineBroken(f"it takes {network.num_inputs} inputs, not one picture")
        return network

    def _settle(self, size: tuple[int, int], onnx: Path) -> None:
        """An input that takes any size gets one: an engine is quickest for that which it was built for."""
        entry = self._network.get_input(0)
        given = tuple(axis if axis >= 0 else None for axis in entry.shape)
        shape = _onnx_model.settled(given, size, onnx)
        if None in given:
            profile = self._builder.create_optimization_profile()
            profile.set_shape(entry.name, shape, shape, shape)
            self._config.add_optimization_profile(profile)

    def plan(self, timings: Path) -> bytes:
        """Build. `timings`: what TensorRT has measured is kept there, and need not be again. Raises EngineBroken."""
        known = timings.read_bytes() if timings.is_file() else b""
        cache = self._config.create_timing_cache(known) or self._config.create_timing_cache(b"")
        self._config.set_timing_cache(cache, ignore_mismatch=False)
        plan = self._builder.build_serialized_network(self._network, self._config)
        if plan is None:
            raise EngineBroken(self._heard.reason())
        measured = self._config.get_timing_cache()
        if measured is not None:
            folder.write_whole(timings, bytes(measured.serialize()), beside=timings.with_suffix(".part"))
        return bytes(plan)
