"""Opens a model as the agent would, and runs it once. No state."""

import contextlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from agent import imaging, plugins, words
from agent.bench.subject import RUNTIMES
from agent.errors import AgentError
from agent.flow import Answer, Frame, Pixels, Route
from agent.model.session import Session
from agent.options import Options
from agent.ports import Card, Described

_ALSO: Final = {"onnx": "tensorrt"}
"""Which other engine takes the same files, if its library alone is there."""
_LIBRARIES: Final = {"onnx": "onnxruntime", "tensorrt": "tensorrt"}
_CURES: Final = {
    "onnx": f"run: {words.pip_install('vedette[onnx]')}",
    "tensorrt": "it comes with NVIDIA's JetPack or TensorRT, for the system's Python",
}
_EXPORT: Final = "export the model as one of them: scripts/export-model in Vedette's repository does"
_SIDE_PX: Final = 480


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of it."""

    card: Card
    answer: Answer
    """Of one picture."""
    loaded_s: float
    """What loading took, warm runs included."""


def runtime_of(file: Path) -> str:
    """The type of the engine that runs `file`. Raises AgentError."""
    runtime = RUNTIMES.get(file.suffix.lower())
    if runtime is None:
        raise AgentError(f"{file}: is none of {', '.join(RUNTIMES)}; {_EXPORT}")
    other = _ALSO.get(runtime)
    return other if other is not None and not _present(runtime) and _present(other) else runtime


def ensure_runtime(file: str) -> None:
    """Raises AgentError: nothing here runs such a file, so that it need not be fetched."""
    runtime = runtime_of(Path(file))
    if not _present(runtime):
        raise AgentError(f"nothing on this device runs {file}: {_LIBRARIES[runtime]} is missing; {_CURES[runtime]}")


def _present(runtime: str) -> bool:
    library = _LIBRARIES.get(runtime)
    return runtime in plugins.names("engines") and (library is None or find_spec(library) is not None)


def options_for(model: str, runtime: str, **more: Any) -> Options:  # noqa: ANN401 - keys of any engine's options
    """The options of an engine of type `runtime`, as the configuration would have them."""
    known = {kind.__module__.rpartition(".")[2]: kind for kind in plugins.options_of("engines", route=Route.LOCAL)}
    return known[runtime].model_validate({"type": runtime, "model": model, **more})


def tried(model: str, file: Path, session: Session, *, variant: str | None = None, image: Path | None = None) -> Tried:
    """Open a model, and run it on one picture.

    Args:
        model: as in the configuration.
        file: the file behind it, by which its engine is chosen.
        session: clock and folders.
        variant: which file of the package.
        image: a picture of the user's; None: a drawn one.

    Raises:
        AgentError: it cannot be used, and why.
    """
    engine = plugins.build_engine(options_for(model, runtime_of(file), variant=variant), session.context)
    pixels = _gradient() if image is None else _picture(image)
    with contextlib.closing(engine):
        begun_s = session.clock.now()
        engine.open()
        opened_s = session.clock.now()
        card = engine.card if isinstance(engine, Described) else None
        if card is None:
            raise AgentError(f"{file}: its engine does not say what it found out")
        frame = Frame("picture", 0, opened_s, session.clock.wall(), clock_synchronized=False, pixels=pixels)
        return Tried(card, engine.infer(frame, float("inf")), opened_s - begun_s)


def _picture(image: Path) -> Pixels:
    try:
        return imaging.decode_image(image.read_bytes())
    except OSError as error:
        raise AgentError(f"{image}: cannot be read: {words.reason(error)}") from error


def _gradient() -> Pixels:
    """(height, width, 3): every brightness, and nothing to be seen."""
    ramp = np.linspace(0, 255, _SIDE_PX, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (_SIDE_PX, _SIDE_PX, 3)))
