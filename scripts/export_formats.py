"""The TFLite files of one ONNX original, each made, held against it, and given its metadata. State: one thread."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import export_tflite
import numpy as np
from export_network import Network
from export_original import Original
from export_package import append_metadata
from export_pictures import Album
from export_request import Request, refuse_other
from numpy.typing import NDArray

from agent.canvas import fitted_rgb
from agent.flow import Pixels
from agent.package import Resize

Array: TypeAlias = NDArray[np.float32]
FILE_WORDS = {"float32": "float32", "float16": "float16", "int8": "full_int8"}
_GREY = 114
_PLANES = 4


def make(request: Request, original: Original, chosen: Album, folder: Path) -> dict[str, str]:
    """Write the wanted formats into `folder`; their files' names. Raises Refused."""
    names = {each: f"{original.file.stem}_{FILE_WORDS[each]}.tflite" for each in FILE_WORDS}
    float32 = folder / names["float32"]
    planes = [at for at, shape in enumerate(original.shapes) if len(shape) == _PLANES]
    network = Network(original.graph)
    export_tflite.convert(network, float32, width=original.width, height=original.height, planes=planes)
    _refuse_other_answers(original, float32, planes)
    if "float16" in request.formats:
        export_tflite.halve(float32, folder / names["float16"])
    if "int8" in request.formats:
        export_tflite.quantise(float32, folder / names["int8"], pictures(chosen, original))
    if "float32" not in request.formats:
        float32.unlink()
    for each in request.formats:
        append_metadata(folder / names[each], original.metadata)
    return {each: names[each] for each in request.formats}


def pictures(chosen: Album, original: Original) -> Iterator[Array]:
    """Each as the agent will show it to the model: (1, height, width, 3) RGB 0..1."""
    return (fitted(each, original) for each in chosen.pictures())


def fitted(pixels: Pixels, original: Original) -> Array:
    """A picture as the model's input."""
    resize = original.resize or Resize.LETTERBOX
    rgb, place = fitted_rgb(pixels, original.width, original.height, resize)
    canvas = np.full((original.height, original.width, 3), _GREY, dtype=np.uint8)
    top, left = max(0, place.top_px), max(0, place.left_px)
    canvas[top : top + rgb.shape[0], left : left + rgb.shape[1]] = rgb
    return canvas[None].astype(np.float32) / 255


def _refuse_other_answers(original: Original, float32: Path, planes: list[int]) -> None:
    """Raises Refused: the converted network does not say what the ONNX file says."""
    picture = np.random.default_rng(0).random((1, original.height, original.width, 3), dtype=np.float32)
    wanted = original.answers(np.ascontiguousarray(picture.transpose(0, 3, 1, 2)))
    found = export_tflite.answers(float32, picture)
    refuse_other(wanted, [each.transpose(0, 3, 1, 2) if at in planes else each for at, each in enumerate(found)])
