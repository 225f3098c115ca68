"""A model on this device: one engine over any runtime (_runtime.py) and any head (_heads.py).

A plugin for a runtime says how a file is loaded; the rest is here: the frame goes into the model's own input, the model
runs, its head reads the outputs. State is owned by the one thread of the local lane.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field

from agent import package
from agent.engines import _doubts, _files, _heads, _inspection, _metadata, _shown, _threads, _yolo
from agent.engines._input import InputWriter
from agent.engines._runtime import Runtime, Tensor
from agent.errors import ConfigError, EngineBroken
from agent.flow import Answer, Frame, Timings
from agent.options import Confidence
from agent.options import Options as BaseOptions
from agent.package import ModelPackage
from agent.ports import Card, Context
from agent.shelf import MODELS

Load: TypeAlias = Callable[[ModelPackage, int, Context], Runtime]
"""Makes a runtime of a model file, with so many CPU threads if it runs on the CPU. Raises EngineBroken."""
Rehearse: TypeAlias = Callable[[ModelPackage, Context], int]
"""Tries a model file before the agent loads it; the number of CPU threads that suits it. Raises EngineBroken."""
_log = logging.getLogger(__name__)


class LocalOptions(BaseOptions):
    """What every on-device engine is told."""

    model: str = Field(description="a model file, a model package folder, or the name of an installed or shipped one")
    variant: str | None = Field(None, description="which file of the package; left out: the package's default")
    confidence: Confidence = Field(0.4, description="objects scored below this are left out, 0..1")
    overlap: Confidence = Field(0.3, description="boxes of one class that overlap more (IoU, 0..1) are one object")
    max_objects: int = Field(
        _yolo.MOST_OBJECTS, ge=1, le=_yolo.MOST_CANDIDATES, description="at most so many objects of a frame, the surest"
    )
    keypoint_confidence: float = Field(0.0, ge=0, lt=1, description="keypoints scored below this are left out, 0..1")
    masks: Literal["polygon", "rle"] = Field(
        "polygon", description="how an object's mask is given: polygon, its outline; rle, COCO's run lengths"
    )

    @property
    def wanted(self) -> _yolo.Wanted:
        """What counts, as the heads know it."""
        return _yolo.Wanted(
            self.confidence,
            self.overlap,
            most=self.max_objects,
            keypoint_confidence=self.keypoint_confidence,
            as_runs=self.masks == "rle",
        )


class CpuOptions(LocalOptions):
    """What an engine on the CPU is told besides."""

    threads: int | None = Field(
        None, ge=1, le=64, description="CPU threads; left out: as many as are fastest here, at most 4, measured once"
    )


def located(options: LocalOptions, type_: str, *, base_dir: Path, state_dir: Path) -> ModelPackage:
    """The model that `options` of an engine of `type_` name. Raises ConfigError: it is not there, or another type's."""
    found = package.find(options.model, base_dir=base_dir, variant=options.variant, shelf=state_dir / MODELS)
    try:
        misfit = _files.misfit(found.file, type_)
    except OSError as error:
        raise ConfigError(f"{found.file}: cannot be read: {error.strerror}") from error
    if misfit is not None:
        raise ConfigError(misfit)
    return found


class Local:
    """One model, one thread."""

    width = 1

    def __init__(
        self, options: LocalOptions, context: Context, load: Load, *, runtime: str, rehearse: Rehearse | None = None
    ) -> None:
        """Nothing is opened yet.

        Args:
            options: which model, and what counts.
            context: clock and folders.
            load: makes the runtime.
            runtime: its name, as `type` in the configuration.
            rehearse: tries a model that is new here; None: it needs no trial.
        """
        self.model = options.model
        self.card: Card | None = None
        self._options = options
        self._wanted = options.wanted
        self._context = context
        self._load = load
        self._rehearse = rehearse
        self._name = runtime
        self._runtime: Runtime | None = None
        self._input: InputWriter | None = None
        self._head: _heads.Head | None = None

    def open(self) -> None:
        """Load the model, learn how it reads and writes, and run it so that no frame pays for the first run."""
        context, options = self._context, self._options
        found = located(options, self._name, base_dir=context.base_dir, state_dir=context.state_dir)
        self.model = f"{found.name}@{found.version}" if found.version else found.name
        best = self._rehearse(found, context) if self._rehearse else _threads.candidates()[-1]
        threads = (options.threads or best) if isinstance(options, CpuOptions) else None
        self._runtime = self._load(found, threads or best, context)
        self._input = InputWriter(self._runtime, found.input, found.file)
        shown = _shown.loaded(found.file, self._runtime, self._input)
        self._head = _inspection.head_of(shown, found, _metadata.read(self._runtime.metadata))
        self.card = self._described(threads, _doubts.doubts(shown, self._head))
        for complaint in self.card.complaints:
            _log.warning("%s: %s", found.file, complaint)
        _log.info("model loaded %s", self)

    def _described(self, threads: int | None, doubts: Iterable[str]) -> Card:
        runtime, writer, head = self._opened()
        nameless = "it carries no class names; give them by: vedette model add FILE --labels FILE, or in its model.yaml"
        complaints = (writer.complaint(), *doubts, None if head.labels else nameless)
        return Card(
            task=head.task,
            runtime=self._name,
            width=writer.width,
            height=writer.height,
            labels=head.labels,
            keypoints=head.poses.names if isinstance(head, _heads.Pose) else (),
            tensors=(f"input {_words(runtime.input)}", *(f"output {_words(tensor)}" for tensor in runtime.outputs)),
            reading=f"{writer.layout}; {head.reading}",
            threads=threads,
            complaints=tuple(each for each in complaints if each),
        )

    def _opened(self) -> tuple[Runtime, InputWriter, _heads.Head]:
        if self._runtime is None or self._input is None or self._head is None:
            raise EngineBroken("the model is not loaded")
        return self._runtime, self._input, self._head

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - a local run cannot be interrupted
        """See Engine. Raises EngineBroken."""
        runtime, writer, head = self._opened()
        now = self._context.clock.now
        begun_s = now()
        place = _yolo.Place(writer.write(frame.pixels), frame.width, frame.height)
        written_s = now()
        raw = runtime.run()
        run_s = now()
        seen = head.decode(raw, place, self._wanted)
        timings = Timings(written_s - begun_s, run_s - written_s, now() - run_s)
        return Answer(
            seen.predictions, self.model, self._name, timings, task=head.task, scores=seen.scores, regions=seen.regions
        )

    def close(self) -> None:
        """Free the model."""
        if self._runtime is not None:
            self._runtime.close()
        self._runtime = self._input = self._head = self.card = None

    def __repr__(self) -> str:
        card = self.card
        if card is None:
            return f"<{self._name} {self.model}>"
        classes = f"{len(card.labels)} classes" if card.labels else "classes without names"
        return f"<{self._name} {self.model} {card.task.value} {card.width}x{card.height} {classes}>"


def _words(tensor: Tensor) -> str:
    scale = tensor.quantisation.scale
    quantised = f", {scale:.4g} x (stored {-tensor.quantisation.zero_point:+d})" if scale else ""
    return f"{tensor.name} {list(tensor.shape)} {tensor.dtype}{quantised}"
