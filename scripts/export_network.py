"""An ONNX graph as a PyTorch module, operation by operation, for the converter to trace. No state.

Only what detectors and classifiers of the YOLO family, and plain convolutional networks, are made of; every shape is
fixed. Another operation is refused by its name: a network that is converted wrongly would be worse than none.
The meaning of each operation: the ONNX operator reference, opsets 11 to 20.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from export_request import Refused
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One operation, when its turn comes."""

    inputs: tuple[Tensor | None, ...]
    """None: an optional one that was left out."""
    fixed: tuple[Array | None, ...]
    """The same inputs where they are constants of the file."""
    attributes: dict[str, Any]
    outputs: int
    """How many are asked for."""

    def input(self, at: int) -> Tensor:
        """The tensor at a place where there must be one."""
        found = self.inputs[at]
        if found is None:
            raise Refused(f"input {at} is missing")
        return found

    def whole(self, name: str, at: int) -> tuple[int, ...] | None:
        """Whole numbers that older opsets keep in an attribute and newer ones in an input; None: they are nowhere."""
        if name in self.attributes:
            return tuple(self.attributes[name])
        if at >= len(self.inputs) or self.inputs[at] is None:
            return None
        constant = self.fixed[at]
        if constant is None:
            raise Refused(f"its {name} are computed while the network runs; export it with fixed sizes")
        return tuple(int(number) for number in constant.reshape(-1))


Operation: TypeAlias = Callable[[Call], Tensor | tuple[Tensor, ...]]


class Network(nn.Module):
    """The graph; takes (1, 3, height, width) RGB 0..1 and gives the outputs in the file's order."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        self._constants = {each.name: np.array(numpy_helper.to_array(each)) for each in graph.initializer}
        self._nodes = _needed(graph)
        self._picture = graph.input[0].name
        self._outputs = [each.name for each in graph.output]
        strange = sorted({node.op_type for node in self._nodes} - set(OPERATIONS))
        if strange:
            raise Refused(f"the network uses {', '.join(strange)}, which this script cannot convert")
        self._buffers_of = {name: f"constant_{row}" for row, name in enumerate(self._constants)}
        for name, buffer in self._buffers_of.items():
            self.register_buffer(buffer, torch.from_numpy(self._constants[name]))

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """The outputs for one picture."""
        values: dict[str, Tensor] = {self._picture: picture}
        values.update((name, getattr(self, buffer)) for name, buffer in self._buffers_of.items())
        for node in self._nodes:
            found = self._run(node, values)
            given = found if isinstance(found, tuple) else (found,)
            values.update(zip(node.output, given, strict=True))
        return tuple(values[name] for name in self._outputs)

    def _run(self, node: onnx.NodeProto, values: dict[str, Tensor]) -> Tensor | tuple[Tensor, ...]:
        call = Call(
            tuple(values[name] if name else None for name in node.input),
            tuple(self._constants.get(name) for name in node.input),
            {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute},
            len(node.output),
        )
        try:
            return OPERATIONS[node.op_type](call)
        except Refused as error:
            raise Refused(f"{node.op_type} {node.name}: {error}") from error


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The operations that an output depends on, in order."""
    wanted = {each.name for each in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


# Convolution and what goes with it


def _padded(picture: Tensor, pads: Iterable[int], value: float) -> tuple[Tensor, tuple[int, int]]:
    """A picture and the even padding that is left to its operation; uneven padding is done here."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return picture, (top, left)
    return functional.pad(picture, (left, right, top, bottom), value=value), (0, 0)


def _window(call: Call, fill: float) -> tuple[Tensor, dict[str, Any]]:
    """The input of something that slides over a picture, and how it slides."""
    if call.attributes.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise Refused("auto_pad is not known here; export it with explicit padding")
    if call.input(0).ndim != 4:  # noqa: PLR2004 - batch, channels, rows, columns
        raise Refused(f"works on {call.input(0).ndim - 2} dimensions, not on a picture's two")
    picture, padding = _padded(call.input(0), call.attributes.get("pads", (0, 0, 0, 0)), fill)
    return picture, {"stride": tuple(call.attributes.get("strides", (1, 1))), "padding": padding}


def _conv(call: Call) -> Tensor:
    picture, way = _window(call, 0.0)
    dilation, groups = tuple(call.attributes.get("dilations", (1, 1))), call.attributes.get("group", 1)
    bias = call.inputs[2] if len(call.inputs) > 2 else None  # noqa: PLR2004 - picture, weights, bias
    return functional.conv2d(picture, call.input(1), bias, **way, dilation=dilation, groups=groups)


def _conv_transpose(call: Call) -> Tensor:
    top, left, bottom, right = call.attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right) or "output_shape" in call.attributes:
        raise Refused("is padded unevenly")
    return functional.conv_transpose2d(
        call.input(0),
        call.input(1),
        call.inputs[2] if len(call.inputs) > 2 else None,  # noqa: PLR2004 - picture, weights, bias
        stride=tuple(call.attributes.get("strides", (1, 1))),
        padding=(top, left),
        output_padding=tuple(call.attributes.get("output_padding", (0, 0))),
        groups=call.attributes.get("group", 1),
        dilation=tuple(call.attributes.get("dilations", (1, 1))),
    )


def _max_pool(call: Call) -> Tensor:
    picture, way = _window(call, float("-inf"))
    size, ceil = tuple(call.attributes["kernel_shape"]), bool(call.attributes.get("ceil_mode", 0))
    found: Tensor = functional.max_pool2d(picture, size, **way, ceil_mode=ceil)
    return found


def _average_pool(call: Call) -> Tensor:
    picture, way = _window(call, 0.0)
    counted = bool(call.attributes.get("count_include_pad", 0))
    if picture is not call.input(0) and not counted:
        raise Refused("is padded unevenly")
    ceil = bool(call.attributes.get("ceil_mode", 0))
    size = tuple(call.attributes["kernel_shape"])
    return functional.avg_pool2d(picture, size, **way, ceil_mode=ceil, count_include_pad=counted)


def _batch_norm(call: Call) -> Tensor:
    scale, bias, mean, variance = (call.input(at) for at in range(1, 5))
    return functional.batch_norm(call.input(0), mean, variance, scale, bias, eps=call.attributes.get("epsilon", 1e-5))


def _resize(call: Call) -> Tensor:
    """Enlargement by whole numbers to the nearest, where all coordinate modes agree, or bilinear as PyTorch does it."""
    picture, mode = call.input(0), call.attributes.get("mode", b"nearest")
    scales = call.fixed[2] if len(call.fixed) > 2 else None  # noqa: PLR2004 - picture, region, scales, sizes
    sizes = call.whole("sizes", 3) if len(call.fixed) > 3 else None  # noqa: PLR2004
    before = np.array(picture.shape[2:])
    after = np.array(sizes[2:]) if sizes else np.floor(before * np.array(scales).reshape(-1)[2:]).astype(int)
    size = tuple(int(side) for side in after)
    if mode == b"nearest" and not (after % before).any():
        return functional.interpolate(picture, size=size, mode="nearest")
    if mode == b"linear" and call.attributes.get("coordinate_transformation_mode", b"half_pixel").endswith(
        b"half_pixel"
    ):
        return functional.interpolate(picture, size=size, mode="bilinear", align_corners=False)
    raise Refused(f"resizes {tuple(before)} to {size} in a way ({mode.decode()}) that is not known here")


# Shapes


def _reshape(call: Call) -> Tensor:
    shape = call.whole("shape", 1) or ()
    picture = call.input(0)
    return picture.reshape([picture.shape[at] if side == 0 else side for at, side in enumerate(shape)])


def _slice(call: Call) -> Tensor:
    starts, ends = call.whole("starts", 1) or (), call.whole("ends", 2) or ()
    axes = call.whole("axes", 3) or tuple(range(len(starts)))
    steps = call.whole("steps", 4) or (1,) * len(starts)
    if min(steps) < 1:
        raise Refused("steps backwards")
    cuts = [slice(None)] * call.input(0).ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = slice(start, end, step)
    return call.input(0)[tuple(cuts)]


def _split(call: Call) -> tuple[Tensor, ...]:
    axis, whole = call.attributes.get("axis", 0), call.input(0)
    sizes = call.whole("split", 1) or -(-whole.shape[axis] // call.outputs)
    return tuple(torch.split(whole, sizes if isinstance(sizes, int) else list(sizes), dim=axis))


def _gather(call: Call) -> Tensor:
    rows = call.fixed[1]
    if rows is None or rows.ndim > 1:
        raise Refused("picks what is computed while the network runs")
    axis = call.attributes.get("axis", 0)
    if rows.ndim == 0:
        return call.input(0).select(axis, int(rows))
    return call.input(0).index_select(axis, torch.from_numpy(rows % call.input(0).shape[axis]))


def _unsqueeze(call: Call) -> Tensor:
    found = call.input(0)
    axes = call.whole("axes", 1) or ()
    for axis in sorted(axis % (found.ndim + len(axes)) for axis in axes):
        found = found.unsqueeze(axis)
    return found


def _squeeze(call: Call) -> Tensor:
    axes = call.whole("axes", 1)
    return call.input(0).squeeze() if axes is None else call.input(0).squeeze(axes)


def _pad(call: Call) -> Tensor:
    pads, whole = call.whole("pads", 1) or (), call.input(0)
    if call.attributes.get("mode", b"constant") != b"constant" or len(pads) != 2 * whole.ndim:
        raise Refused("pads with something other than a constant")
    value = call.fixed[2] if len(call.fixed) > 2 else None  # noqa: PLR2004 - picture, pads, value
    ends = [side for axis in reversed(range(whole.ndim)) for side in (pads[axis], pads[axis + whole.ndim])]
    return functional.pad(whole, ends, value=0.0 if value is None else float(value.reshape(-1)[0]))


def _cast(call: Call) -> Tensor:
    if call.attributes["to"] != onnx.TensorProto.FLOAT:
        raise Refused("casts to something other than float32; export it as float32")
    return call.input(0).float()


# Numbers


def _gemm(call: Call) -> Tensor:
    left = call.input(0).T if call.attributes.get("transA", 0) else call.input(0)
    right = call.input(1).T if call.attributes.get("transB", 0) else call.input(1)
    found = call.attributes.get("alpha", 1.0) * (left @ right)
    return found if len(call.inputs) < 3 else found + call.attributes.get("beta", 1.0) * call.input(2)  # noqa: PLR2004


def _clip(call: Call) -> Tensor:
    low, high = (
        call.attributes.get(name, call.fixed[at] if at < len(call.fixed) else None)
        for name, at in (("min", 1), ("max", 2))
    )
    return call.input(0).clamp(None if low is None else float(low), None if high is None else float(high))


def _reduced(reduce: Callable[..., Tensor]) -> Operation:
    def run(call: Call) -> Tensor:
        axes = call.whole("axes", 1) or tuple(range(call.input(0).ndim))
        return reduce(call.input(0), axes, keepdim=bool(call.attributes.get("keepdims", 1)))

    return run


def _one(function: Callable[[Tensor], Tensor]) -> Operation:
    return lambda call: function(call.input(0))


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda call: function(call.input(0), call.input(1))


def _hard_sigmoid(call: Call) -> Tensor:
    return (call.attributes.get("alpha", 0.2) * call.input(0) + call.attributes.get("beta", 0.5)).clamp(0, 1)


OPERATIONS: dict[str, Operation] = {
    "Add": _two(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda call: torch.cat([each for each in call.inputs if each is not None], call.attributes["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _two(torch.div),
    "Exp": _one(torch.exp),
    "Flatten": lambda call: call.input(0).flatten(call.attributes.get("axis", 1)),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _one(lambda picture: picture.mean((2, 3), keepdim=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _one(functional.hardswish),
    "Identity": _one(lambda same: same),
    "LeakyRelu": lambda call: functional.leaky_relu(call.input(0), call.attributes.get("alpha", 0.01)),
    "MatMul": _two(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "Pad": _pad,
    "Pow": _two(torch.pow),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _one(functional.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _one(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda call: functional.softmax(call.input(0), call.attributes.get("axis", -1)),
    "Split": _split,
    "Sqrt": _one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(torch.sub),
    "Tanh": _one(torch.tanh),
    "Transpose": lambda call: call.input(0).permute(*call.attributes["perm"]),
    "Unsqueeze": _unsqueeze,
}
