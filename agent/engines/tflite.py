"""On-device YOLOv8 through LiteRT (ai-edge-litert), or tflite-runtime where that is what the device has.

Talks to nothing but the CPU. A file that is no TFLite model, or no YOLOv8 detector, is refused in `open` with the
reason; `vedette check --probe` runs one inference. State is owned by the one thread of the local lane.
"""

import json
import logging
import os
import zipfile
import zlib
from ast import literal_eval
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agent import imaging, package
from agent.engines import _yolo
from agent.errors import EngineBroken
from agent.flow import Answer, Frame, Pixels, Route, Timings
from agent.options import Confidence
from agent.options import Options as BaseOptions
from agent.ports import Context, Engine

ROUTE: Final = Route.LOCAL
_MAGIC = b"TFL3"
_METADATA_UP_TO_BYTES = 1_000_000
"""Exporters write about 3 kB; more is no list of class names."""
_log = logging.getLogger(__name__)


class Options(BaseOptions):
    """An on-device YOLOv8 detector in a .tflite file."""

    type: Literal["tflite"] = Field(description="a YOLOv8 detector on this device's CPU")
    model: str = Field(description="a .tflite file, a model package folder, or the name of a shipped package (shapes)")
    variant: str | None = Field(None, description="which file of the package; left out: the package's default")
    confidence: Confidence = Field(0.4, description="objects scored below this are left out, 0..1")
    overlap: Confidence = Field(0.3, description="boxes of one class that overlap more (IoU, 0..1) are one object")
    threads: int | None = Field(None, ge=1, le=64, description="CPU threads; left out: the cores, at most 4")


class TFLite:
    """One interpreter; one thread."""

    width = 1

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._interpreter: Any = None  # untyped library
        self._input: _Input | None = None
        self._head: _yolo.Head | None = None
        self.model = options.model

    def open(self) -> None:
        """Load the model, learn how it reads and writes, and run it twice so that no frame pays for the first run."""
        found = package.find(self._options.model, base_dir=self._context.base_dir, variant=self._options.variant)
        self.model = found.name
        self._interpreter = _load(found.file, self._options.threads or min(4, os.cpu_count() or 1))
        self._input = _Input(self._interpreter, found.file)
        self._output = self._interpreter.get_output_details()[0]
        self._head = self._inspect(found, self._input)
        _log.info("model loaded %s", self)

    def _inspect(self, found: package.ModelPackage, tensor: "_Input") -> _yolo.Head:
        shape = tuple(int(size) for size in self._output["shape"])
        width, height = tensor.width, tensor.height
        last = _yolo.anchors_last(shape, width=width, height=height)
        labels = found.labels or _labels_inside(found.file)
        classes = (shape[1] if last else shape[2]) - 4
        if labels and len(labels) != classes:
            raise EngineBroken(f"{found.file}: finds {classes} classes but {len(labels)} labels are given for it")
        if not labels:
            _log.warning("%s carries no class names; put name, file and labels into a model.yaml beside it", found.file)
        quantisation = _quantisation(self._output)
        tensor.fill(np.full((height, width, 3), imaging.GREY, dtype=np.uint8))
        self._invoke()
        raw = self._invoke()
        rows = quantisation.to_real(raw if last else raw.T)
        _yolo.refuse_other_heads(rows, found.file)
        return _yolo.Head(last, _yolo.looks_normalised(rows), quantisation, width, height, labels)

    def infer(self, frame: Frame, give_up_s: float) -> Answer:  # noqa: ARG002 - a local run cannot be interrupted
        """See Engine. Raises EngineBroken."""
        if self._head is None or self._input is None:
            raise EngineBroken("the model is not loaded")
        clock, options = self._context.clock, self._options
        begun_s = clock.now()
        canvas, letterbox = imaging.letterbox_rgb(frame.pixels, self._input.width, self._input.height)
        self._input.fill(canvas)
        filled_s = clock.now()
        raw = self._invoke()
        invoked_s = clock.now()
        found = _yolo.decode(
            raw,
            self._head,
            letterbox,
            frame_size=(frame.width, frame.height),
            confidence=options.confidence,
            overlap=options.overlap,
        )
        timings = Timings(filled_s - begun_s, invoked_s - filled_s, clock.now() - invoked_s)
        return Answer(found, self.model, "tflite", timings)

    def _invoke(self) -> NDArray[np.generic]:
        """The output tensor without its batch axis.

        A copy: the interpreter refuses to run while anything, be it a traceback's frame, holds a view of its memory.
        """
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise EngineBroken(f"the model {self.model} failed to run: {error}") from error
        raw: NDArray[np.generic] = self._interpreter.get_tensor(self._output["index"])[0]
        return raw

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = self._input = self._head = None  # the input's view holds the interpreter, too

    def __repr__(self) -> str:
        head = self._head
        boxes = "" if head is None else f" {head.input_width}x{head.input_height} {len(head.labels)} classes"
        return f"<TFLite {self.model}{boxes}>"


class _Input:
    """The model's input tensor: its layout, and how 8-bit pixels become its numbers."""

    def __init__(self, interpreter: Any, file: Path) -> None:  # noqa: ANN401 - untyped library
        detail = interpreter.get_input_details()[0]
        shape = [int(size) for size in detail["shape"]]
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):  # noqa: PLR2004 - batch, rows, columns, colours
            raise EngineBroken(f"{file}: takes an input of {shape}, not one colour picture [1, height, width, 3]")
        self._channels_first = shape[3] != 3  # noqa: PLR2004 - three colours
        self.height, self.width = shape[2:] if self._channels_first else shape[1:3]
        self._view = interpreter.tensor(detail["index"])
        self._table = _table(detail)

    def fill(self, canvas: Pixels) -> None:
        """Write (height, width, 3) RGB into the tensor."""
        picture = canvas.transpose(2, 0, 1) if self._channels_first else canvas
        np.take(self._table, picture, out=self._view()[0], mode="clip")


def _table(detail: dict[str, Any]) -> NDArray[np.generic]:
    """The tensor's number for each of the 256 pixel values; a YOLOv8 reads them as 0..1."""
    dtype = np.dtype(detail["dtype"])
    real = np.arange(256, dtype=np.float32) / np.float32(255)
    quantisation = _quantisation(detail)
    if not quantisation.scale:
        plain: NDArray[np.generic] = real.astype(dtype)
        return plain
    stored = np.round(real / np.float32(quantisation.scale)) + quantisation.zero_point
    limits = np.iinfo(dtype)
    table: NDArray[np.generic] = np.clip(stored, limits.min, limits.max).astype(dtype)
    return table


def _quantisation(detail: dict[str, Any]) -> _yolo.Quantisation:
    scale, zero_point = detail["quantization"]
    return _yolo.Quantisation(float(scale), int(zero_point))


def _load(file: Path, threads: int) -> Any:  # noqa: ANN401 - untyped library
    try:
        with file.open("rb") as model:
            head = model.read(8)
    except OSError as error:
        raise EngineBroken(f"{file}: cannot be read: {error.strerror}") from error
    if head[4:8] != _MAGIC:
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
            raise EngineBroken("no TFLite runtime is installed; run: pip install ai-edge-litert") from error
    return Interpreter


def _labels_inside(file: Path) -> tuple[str, ...]:
    """Class names from the zip archive that exporters append to the model; empty when there is none to be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in filter(_may_be_metadata, archive.infolist()):
                if labels := _in_order(_parsed(_text(archive, entry)).get("names")):
                    return labels
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        _log.debug("%s: no class names in it: %s", file, error)  # no archive, a damaged one, or one with a password
    return ()


def _may_be_metadata(entry: zipfile.ZipInfo) -> bool:
    small = entry.file_size <= _METADATA_UP_TO_BYTES
    plain = entry.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    return entry.filename.endswith((".json", ".txt")) and small and plain


def _text(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    with archive.open(entry) as opened:
        return opened.read(_METADATA_UP_TO_BYTES).decode("utf-8", "replace")


def _parsed(text: str) -> dict[str, Any]:
    """Metadata as JSON, or as the Python literal that older exporters wrote."""
    for parse in (json.loads, literal_eval):
        try:
            value = parse(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue  # both parsers call text that is nested too deeply out of memory or out of stack
        if isinstance(value, dict):
            return value
    return {}


def _in_order(names: object) -> tuple[str, ...]:
    """`names`, a mapping of class id to name, by class id; empty unless the ids are 0, 1, 2 and so on."""
    if not isinstance(names, dict):
        return ()
    found = [names.get(class_id, names.get(str(class_id))) for class_id in range(len(names))]
    labels = tuple(name for name in found if isinstance(name, str))
    return labels if len(labels) == len(names) else ()


def build(options: Options, context: Context) -> Engine:
    """The plugin's entry."""
    return TFLite(options, context)
