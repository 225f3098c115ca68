"""A network becomes TFLite files: float32, float16 weights, and int8 throughout. State: PyTorch's, one thread.

The converter is litert-torch, the quantiser ai-edge-quantizer; both are Google's, for the runtime that the agent has.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import BuiltinOperator as _Operator
from ai_edge_quantizer import quantizer, recipe
from ai_edge_quantizer.utils import tfl_flatbuffer_utils
from numpy.typing import NDArray
from torch import nn

Array: TypeAlias = NDArray[np.float32]
Ranges: TypeAlias = dict[str, dict[str, Any]]
"""Least and greatest number of each tensor, by its name."""
SIGNATURE = "serving_default"
INPUT = "args_0"
"""What the converter calls a network's first argument."""
FADED = -8.0
"""Below it x * sigmoid(x) is 0 but for 0.003, so a range that reaches further down only makes its steps coarser. In a
YOLOv8n some reach down to -130."""
_HALVED = {
    "regex": ".*",
    "operation": "*",
    "algorithm_key": "float_casting",
    "op_config": {
        "weight_tensor_config": {"num_bits": 16, "symmetric": True, "granularity": "TENSORWISE", "dtype": "FLOAT"},
        "compute_precision": "FLOAT",
        "explicit_dequantize": True,
        "skip_checks": False,
        "min_weight_elements": 0,
    },
}
"""Weights as float16, which the runtime widens again: half the file, the same speed on a CPU."""


def convert(network: nn.Module, file: Path, *, width: int, height: int, planes: list[int]) -> None:
    """Write `network` as float32, with the colours last: [1, height, width, 3].

    Args:
        network: takes (1, 3, height, width).
        file: is written.
        width: of the input in pixels.
        height: likewise.
        planes: outputs that are planes of a picture, whose channels come last as well.
    """
    shipped = litert_torch.to_channel_last_io(network.eval(), args=[0], outputs=planes).eval()
    litert_torch.convert(shipped, (torch.zeros(1, height, width, 3),)).export(str(file))


def halve(float32: Path, file: Path) -> None:
    """Write `float32` with weights of 16 bits."""
    work = quantizer.Quantizer(str(float32))
    work.load_quantization_recipe([_HALVED])
    work.quantize().export_model(str(file), overwrite=True)


def quantise(float32: Path, file: Path, pictures: Iterable[Array]) -> None:
    """Write `float32` as int8, input and outputs included.

    A tensor's range is the widest of all pictures. The quantiser's own average over pictures is that of one picture
    that shows little: the scores of sure objects are then cut off at 0.5 or so.

    Args:
        float32: what `convert` wrote.
        file: is written.
        pictures: each (1, height, width, 3) RGB 0..1.
    """
    ranges: Ranges = {}
    for picture in pictures:
        seen = _static(float32).calibrate({SIGNATURE: [{INPUT: spanning(picture)}]}, num_threads=os.cpu_count() or 1)
        widen(ranges, seen)
    for name in gated(float32) & set(ranges):
        ranges[name]["min"] = np.maximum(ranges[name]["min"], np.float32(FADED))
    _static(float32).quantize(calibration_result=ranges).export_model(str(file), overwrite=True)


def _static(float32: Path) -> quantizer.Quantizer:
    work = quantizer.Quantizer(str(float32))
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    return work


def widen(ranges: Ranges, seen: Mapping[str, Mapping[str, Any]]) -> None:
    """Make each tensor's range in `ranges` hold what was `seen`, too."""
    for name, one in seen.items():
        known = ranges.setdefault(name, dict(one))
        if "min" in one:
            known["min"] = np.minimum(known["min"], one["min"])
            known["max"] = np.maximum(known["max"], one["max"])


def gated(float32: Path) -> set[str]:
    """The tensors x of which only x * sigmoid(x) is used (SiLU)."""
    model = tfl_flatbuffer_utils.read_model(str(float32))
    graph = model.subgraphs[0]
    operators = [(model.operatorCodes[each.opcodeIndex].builtinCode, each) for each in graph.operators]
    sigmoids = {each.outputs[0]: each.inputs[0] for code, each in operators if code == _Operator.LOGISTIC}
    found = set()
    for code, each in operators:
        if code == _Operator.MUL:
            left, right = each.inputs
            found |= {x for x, gate in ((left, right), (right, left)) if sigmoids.get(gate) == x}
    return {graph.tensors[each].name.decode() for each in found}


def spanning(picture: Array) -> Array:
    """`picture` with one black and one white pixel, so that the input's range is 0..1 whatever it shows."""
    picture[0, 0, 0], picture[0, 0, 1] = 0, 1
    return picture


def answers(file: Path, picture: Array) -> list[Array]:
    """What a float TFLite file says to (1, height, width, 3) RGB 0..1, in the network's order."""
    interpreter = Interpreter(str(file))
    runner = interpreter.get_signature_runner()
    found = runner(**{INPUT: picture})
    return [found[name] for name in sorted(found, key=lambda name: int(name.rpartition("_")[2]))]
