"""The ONNX file that everything else is made from: what it says, and its graph with fixed shapes. No state."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
import onnxslim
from export_head import SUPPRESSED, Layout, Shape, factor, layout_of, task_of
from export_request import Refused, Request, refuse_size
from export_scaling import Scaling
from numpy.typing import NDArray

from agent.canvas import GREY, letterbox_rgb
from agent.engines import _metadata, _onnx_model
from agent.flow import Pixels, Task
from agent.package import Resize

Array: TypeAlias = NDArray[np.float32]
USUAL_PX = 640
_COLOURS = 3
_AXES = 4


@dataclass(frozen=True, slots=True)
class Original:
    """One ONNX model."""

    file: Path
    metadata: dict[str, Any]
    """What its exporter wrote."""
    export: _metadata.Export
    """The part of that which the agent reads."""
    task: Task
    width: int
    height: int
    graph: onnx.GraphProto
    """With fixed shapes, constants computed, and every position a share of the input."""
    factor: Array | None
    """What its first output was multiplied by to that end; None: nothing had to be."""
    mixed: bool
    """Whether positions and scores stand in one tensor somewhere before."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of its outputs."""
        return tuple(_shape(each) for each in self.graph.output)

    @property
    def resize(self) -> Resize | None:
        """How pictures were fitted in training; None: as it is usual. Ultralytics crops for classifiers."""
        return Resize.CROP if self.metadata.get("task") == "classify" else None

    def answers(self, picture: Array) -> list[Array]:
        """Its outputs for (1, 3, height, width) RGB 0..1, with positions as shares of the input."""
        found = answers(self.file, picture)
        return found if self.factor is None else [found[0] * self.factor, *found[1:]]


def answers(file: Path, picture: Array) -> list[Array]:
    """What ONNX Runtime says to (1, 3, height, width) RGB 0..1."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: picture}))


def read(file: Path, request: Request, chosen: Sequence[Pixels]) -> Original:
    """Look into `file`; some of the user's pictures, if any, tell how large mask coefficients get. Raises Refused."""
    metadata = _onnx_model.metadata(file)
    export = _metadata.read(metadata)
    if export.suppressed:
        raise Refused(SUPPRESSED)
    if metadata.get("task") == "obb":
        raise Refused("the model finds oriented boxes, which the agent does not read; train a detector")
    model, size = _fixed(file, request.size or export.size, said=request.model.name)
    graph = model.graph
    shapes = [_shape(each) for each in graph.output]
    task = task_of(export.task, shapes, keypoints=export.keypoint_shape)
    if task is Task.KEYPOINT_DETECTION and export.keypoint_shape is None:
        raise Refused("the model does not say how many keypoints it has (kpt_shape in its metadata); export it again")
    if task in {Task.CLASSIFICATION, Task.MULTI_LABEL_CLASSIFICATION, Task.SEMANTIC_SEGMENTATION}:
        return Original(file, metadata, export, task, *size, graph, None, mixed=False)
    order = sorted(range(len(shapes)), key=lambda at: len(shapes[at]))
    if order != list(range(len(shapes))):
        raise Refused("the model gives its masks before its boxes; export it with its own head")
    layout = layout_of(shapes, size, export.keypoint_shape)
    grey = np.full((1, _COLOURS, size[1], size[0]), GREY / 255, dtype=np.float32)
    reach = _reach(file, layout, chosen) if layout.coefficients and chosen else 1.0
    by = factor(answers(file, grey)[0], layout, reach=reach)
    scaling = Scaling(graph)
    if np.any(by != 1):
        scaling.apply(graph.output[0].name, by)
    return Original(file, metadata, export, task, *size, graph, by, scaling.mixed)


def _reach(file: Path, layout: Layout, chosen: Sequence[Pixels]) -> float:
    """The largest mask coefficient of any object that may be one, in some pictures."""
    greatest = 0.0
    for pixels in chosen:
        rgb, _ = letterbox_rgb(pixels, layout.width, layout.height)
        rows = answers(file, np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], dtype=np.float32) / 255)[0][0]
        values = rows if layout.anchors_last else rows.T
        greatest = max(greatest, float(np.abs(values[-layout.coefficients :]).max()))
    return greatest or 1.0


def _fixed(file: Path, wanted: tuple[int, int] | None, *, said: str) -> tuple[onnx.ModelProto, tuple[int, int]]:
    """The model with an input of one size (width, height), constants computed and shapes known. Raises Refused."""
    try:
        model = onnx.load(str(file))
        onnx.checker.check_model(model)
    except Exception as error:  # whatever protobuf makes of a file that is none
        raise Refused(f"{said} is no ONNX model that can be read: {str(error).splitlines()[0]}") from error
    name, size = _input(model.graph, wanted)
    shape = f"{name}:1,{_COLOURS},{size[1]},{size[0]}"
    try:
        slim = onnxslim.slim(model, input_shapes=[shape])
        return onnx.shape_inference.infer_shapes(slim, strict_mode=True, data_prop=True), size
    except Exception as error:  # of whichever part of the two libraries
        raise Refused(
            f"the model has sizes that cannot all be known beforehand for an input of {size[0]}x{size[1]}; export it "
            f"with fixed ones ({str(error).splitlines()[0]})"
        ) from error


def _input(graph: onnx.GraphProto, wanted: tuple[int, int] | None) -> tuple[str, tuple[int, int]]:
    """The input's name, and the width and height it is to have. Raises Refused."""
    weights = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    kinds = [each.type.tensor_type.elem_type for each in inputs]
    shape = _shape(inputs[0]) if inputs else ()
    pictures = len(shape) == _AXES and shape[0] in {0, 1} and shape[1] in {0, _COLOURS}
    if kinds != [onnx.TensorProto.FLOAT] or not pictures:
        raise Refused(
            f"the model takes {[list(_shape(each)) for each in inputs]}, not one float32 picture "
            "[1, 3, height, width]; export it so (batch=1, without half)"
        )
    height, width = shape[2:]
    if height and width:
        if wanted not in {None, (width, height)}:
            raise Refused(f"the model takes {width}x{height}; export the ONNX again for another --size")
        return inputs[0].name, (width, height)
    size = wanted or (USUAL_PX, USUAL_PX)
    refuse_size(*size)
    return inputs[0].name, size


def _shape(value: onnx.ValueInfoProto) -> Shape:
    """0 for a side that is not fixed."""
    return tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
