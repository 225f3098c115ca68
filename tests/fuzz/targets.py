"""What is fed with damaged input, and what counts as a good end of it."""

import io
import json
import random
import tempfile
import zipfile
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.mutation import damaged, spoiled
from toy_models import classifier

from agent import canvas, package
from agent.clock import SystemClock
from agent.engines import _answers, _inspection, _masks, _metadata, _onnx_model, _shown, onnx, tensorrt, tflite
from agent.engines._input import InputWriter
from agent.errors import AgentError
from agent.flow import Picture, Task
from agent.package import ModelPackage
from agent.ports import Context

SHAPES = package.shipped("models", "shapes")
ANSWERED = "answered"
WORDLESS = "FAULT an error without words"
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - a disk only costs time


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote."""

    name: str
    run: Callable[[random.Random], str]
    """Feeds it one damaged input; in a word how that ended. Anything raised but an error in words is a fault."""


# Model files: in a process of their own, as the rehearsal of a new model is


def _model(samples: list[bytes], suffix: str, load: Callable[..., Any], draw: random.Random) -> str:
    data = damaged(draw.choice(samples), draw)
    with tempfile.NamedTemporaryFile(suffix=suffix, dir=MEMORY) as file:
        Path(file.name).write_bytes(data)
        found = ModelPackage("fuzz", "", Path(file.name), ())
        folder = Path(file.name).parent
        try:
            runtime = load(found, 1, Context("fuzz", SystemClock(), folder, folder, trial=True))
            writer = InputWriter(runtime, None, found.file)
            shown = _shown.loaded(found.file, runtime, writer)
            _inspection.head_of(shown, found, _metadata.read(runtime.metadata))
        except AgentError as error:
            return "refused" if str(error) else WORDLESS
        return ANSWERED


def tflite_models(extra: list[Path]) -> Target:
    samples = [file.read_bytes() for file in (*sorted(SHAPES.glob("*.tflite")), *extra)]
    return Target("models", lambda draw: _model(samples, ".tflite", tflite.load, draw))


def onnx_models(extra: list[Path]) -> Target:
    samples = [_toy(), *(file.read_bytes() for file in extra)]
    return Target("onnx", lambda draw: _model(samples, ".onnx", onnx.load, draw))


def _toy() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return classifier(Path(folder) / "toy.onnx").read_bytes()


# What exporters write into files

EXPORT: dict[str, Any] = {
    "description": "a model",
    "task": "pose",
    "stride": 32,
    "batch": 1,
    "imgsz": [320, 320],
    "names": {str(number): name for number, name in enumerate(("circle", "square", "triangle", "star"))},
    "kpt_shape": [17, 3],
    "kpt_names": {"0": ["nose", "eye"]},
    "args": {"nms": False, "int8": True},
    "end2end": False,
}


def _archive(text: bytes, draw: random.Random) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        archive.writestr(draw.choice(("metadata.json", "temp_meta.txt")), text)
    return written.getvalue()


def _metadata_block(draw: random.Random) -> str:
    text = draw.choice((_json, repr))(spoiled(EXPORT, draw)).encode("utf-8", "replace")
    if draw.random() < 0.5:
        text = damaged(text, draw)
    block = _archive(text, draw)
    if draw.random() < 0.5:
        block = damaged(block, draw)
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        Path(file.name).write_bytes(b"\x1c\0\0\0TFL3 and the rest of a model" + block)
        export = _metadata.read(tflite._metadata_inside(Path(file.name)))
    assert all(isinstance(name, str) for name in export.labels)
    return ANSWERED if export != _metadata.Export() else "nothing read"


def _json(value: Any) -> str:
    return json.dumps(value)


_TOY = _toy()


def _header(draw: random.Random) -> str:
    """What is read without a library where TensorRT is: an engine's header, and the metadata of an .onnx file."""
    text = json.dumps(spoiled(EXPORT, draw)).encode("utf-8", "replace")
    written, engine = tensorrt.split(damaged(len(text).to_bytes(4, "little") + text + b"an engine", draw))
    exported = _metadata.read(written)
    with tempfile.NamedTemporaryFile(suffix=".onnx", dir=MEMORY) as file:
        Path(file.name).write_bytes(damaged(_TOY, draw))
        exported_too = _metadata.read(_onnx_model.metadata(Path(file.name)))
    assert isinstance(engine, bytes)
    return ANSWERED if _metadata.Export() not in (exported, exported_too) else "nothing read"


HEADERS = Target("headers", _header)
METADATA = Target("metadata", _metadata_block)


# Answers of the API


def answers() -> list[dict[str, Any]]:
    """One whole answer of each of the six shapes, and masks as run lengths."""
    box = {"x": 50.0, "y": 40.5, "width": 30.0, "height": 21.0, "confidence": 0.87, "class": "crate", "class_id": 3}
    mask = np.zeros((72, 128), bool)
    mask[20:40, 30:90] = True
    runs = {"size": [72, 128], "counts": _masks.encode_runs(mask).counts}
    png = canvas.encode_png(mask.astype(np.uint8))
    areas = {
        "segmentation_mask": _text(png),
        "class_map": {"0": "background", "1": "road"},
        "confidence_mask": _text(png),
    }
    outline = {
        "points": [{"x": 1.0, "y": 2.0}, {"x": 30.5, "y": 2.0}, {"x": 30.5, "y": 40.0}],
        "mask_format": "polygon",
    }
    points = {"keypoints": [{"x": 3.0, "y": 7.0, "confidence": 0.97, "class_id": 0, "class": "nose"}]}
    return [
        _body([box, box]),
        _body([{**box, **outline}]),
        _body([{**box, "rle": runs, "mask_format": "rle"}]),
        _body([{**box, **points}]),
        _body([{"class": "ok", "class_id": 1, "confidence": 0.8}], top="ok", confidence=0.8),
        _body({"helmet": {"confidence": 0.9, "class_id": 0}}, predicted_classes=["helmet"]),
        _body(areas),
    ]


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _body(predictions: Any, **others: Any) -> dict[str, Any]:
    return {
        "inference_id": "5c9a",
        "time": 0.03,
        "image": {"width": 128, "height": 72},
        "predictions": predictions,
        **others,
    }


_ANSWERS = answers()
_PICTURE = Picture(b"", 128, 72, 85, 1280, 720)


def _answer(draw: random.Random) -> str:
    body = spoiled(draw.choice(_ANSWERS), draw)
    if draw.random() < 0.3:
        try:
            body = json.loads(damaged(json.dumps(body).encode(), draw))
        except (ValueError, RecursionError):
            return "no JSON"
    if not isinstance(body, dict):
        return "no object"
    try:
        found = _answers.read(body, _PICTURE, assumed=draw.choice(list(Task)))
    except ValueError as error:
        return "refused" if str(error) else WORDLESS
    assert all(np.isfinite([one.x, one.y, one.width, one.height, one.confidence]).all() for one in found.predictions)
    return ANSWERED


ANSWERS = Target("answers", _answer)
