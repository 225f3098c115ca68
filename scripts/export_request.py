"""What is asked of scripts/export_model.py, and what is refused. No state."""

import argparse
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.package import MANIFEST
from agent.shelf import is_name

FORMATS = ("float32", "float16", "int8")
STRIDE_PX = 32
"""The coarsest grid of the detection head: both sides of the input are multiples of it."""
LEAST_PICTURES, ENOUGH_PICTURES, MOST_PICTURES = 8, 100, 300
"""For the calibration of int8: with fewer it is refused, with fewer there is a warning, and more are not looked at."""
APART = 1e-3
"""How far a number of the float32 file may be off the ONNX file's, as a share of the largest in its output."""
Array: TypeAlias = NDArray[Any]


class Refused(Exception):
    """What was asked for cannot be done, or would give a model that is wrong; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """One export."""

    model: Path
    out: Path
    """The package's folder."""
    name: str
    """Of the package, and the first part of its files' names."""
    size: tuple[int, int] | None
    """Width and height of the input in pixels; None: as the model was trained or exported."""
    formats: tuple[str, ...]
    images: Path | None
    """The folder of pictures for calibration."""
    pictures: int
    """How many of them at most."""
    labels: tuple[str, ...] = ()
    licence: str = ""
    description: str = ""
    force: bool = False
    """Whether a package at `out` is replaced."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="export-model", description="Makes a model package of TFLite files from a .pt or .onnx file."
    )
    found.add_argument("model", type=Path, help="an Ultralytics .pt or an .onnx file; a .pt can run any code: trust it")
    found.add_argument("--out", type=Path, required=True, help="folder of the package, made whole or not at all")
    found.add_argument("--formats", nargs="+", choices=FORMATS, help="which files are made; left out: all that can be")
    found.add_argument("--images", type=Path, help="folder of your own camera's pictures; int8 is calibrated on them")
    found.add_argument("--size", type=size_of, help="input in pixels, 640 or 640x384 (width x height), multiples of 32")
    found.add_argument("--name", default="", help="what results call the model; left out: the name of the folder")
    found.add_argument("--labels", type=Path, help="class names, one a line, where the model does not carry them")
    found.add_argument("--licence", default="", help="on what terms it may be used, where the model does not say")
    found.add_argument("--description", default="", help="one sentence for people")
    found.add_argument("--pictures", type=int, default=MOST_PICTURES, help="at most so many of --images are used")
    found.add_argument("--force", action="store_true", help="replace the package that is at --out")
    return found


def size_of(text: str) -> tuple[int, int]:
    """`640` or `640x384` as width and height. Raises argparse.ArgumentTypeError."""
    sides = text.lower().split("x")
    if not all(side.isdecimal() for side in sides) or len(sides) > 2:  # noqa: PLR2004 - width and height
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 640, or 640x384 for width x height")
    return int(sides[0]), int(sides[-1])


def request_of(arguments: argparse.Namespace) -> Request:
    """The command line's wish. Raises Refused."""
    request = Request(
        model=arguments.model,
        out=arguments.out,
        name=arguments.name or arguments.out.resolve().name,
        size=arguments.size,
        formats=_formats(arguments.formats, calibrated=arguments.images is not None),
        images=arguments.images,
        pictures=arguments.pictures,
        labels=() if arguments.labels is None else _lines(arguments.labels),
        licence=arguments.licence,
        description=arguments.description,
        force=arguments.force,
    )
    _refuse_files(request)
    _refuse_settings(request)
    return request


def _formats(wanted: list[str] | None, *, calibrated: bool) -> tuple[str, ...]:
    if wanted is None:
        return FORMATS if calibrated else tuple(each for each in FORMATS if each != "int8")
    return tuple(each for each in FORMATS if each in wanted)


def _lines(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"--labels {file} cannot be read as text: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


def _refuse_files(request: Request) -> None:
    """Raises Refused."""
    if not request.model.is_file():
        raise Refused(f"{request.model} is not there; name a .pt or .onnx file")
    if request.model.suffix.lower() not in {".pt", ".onnx"}:
        raise Refused(f"{request.model} is neither a .pt nor an .onnx file, which is all that can be converted")
    if not is_name(request.name):
        raise Refused(f"{request.name!r} can be no package's name: letters, digits, - and _; give --name another")
    if request.out.exists():
        if not request.force:
            raise Refused(f"{request.out} is there already; choose another --out, or replace it with --force")
        if not (request.out / MANIFEST).is_file() and (not request.out.is_dir() or any(request.out.iterdir())):
            raise Refused(f"{request.out} is no model package, so --force does not replace it; move it away yourself")


def _refuse_settings(request: Request) -> None:
    """Raises Refused."""
    if request.size is not None:
        refuse_size(*request.size)
    if "int8" in request.formats and request.images is None:
        raise Refused(
            "int8 needs --images: each tensor's range is measured on pictures, and on any others than your camera's "
            f"the scores come out wrong without a word; give a folder of {ENOUGH_PICTURES} or more of its frames"
        )
    if request.images is not None and not request.images.is_dir():
        raise Refused(f"--images {request.images} is no folder; give one with pictures of your own camera")
    if request.pictures < LEAST_PICTURES:
        raise Refused(f"--pictures {request.pictures} is too few to measure ranges on; at least {LEAST_PICTURES}")


def refuse_size(width: int, height: int) -> None:
    """Raises Refused: the grids of the head do not fit into such an input."""
    for side in (width, height):
        if side % STRIDE_PX or side < STRIDE_PX:
            near = max(STRIDE_PX, round(side / STRIDE_PX) * STRIDE_PX)
            raise Refused(
                f"an input of {width}x{height} does not fit the head's coarsest grid, whose cells have {STRIDE_PX} "
                f"pixels; take {near} in place of {side}"
            )


def refuse_too_few(usable: int, where: Path) -> None:
    """Raises Refused: int8 cannot be calibrated on so few pictures."""
    if usable < LEAST_PICTURES:
        raise Refused(
            f"{where} has {usable} usable pictures, and int8 needs at least {LEAST_PICTURES} to measure ranges on "
            f"({ENOUGH_PICTURES} or more are better); add frames of your camera, by day and by night"
        )


def refuse_mixed(formats: Collection[str], *, mixed: bool) -> None:
    """Raises Refused: int8 is wanted of a network whose boxes stay in pixels."""
    if mixed and "int8" in formats:
        raise Refused(
            "int8 needs boxes in shares of the input, and this network joins boxes and scores in one tensor before "
            "they can be told apart: with boxes in pixels every score would be 0. Leave int8 out of --formats"
        )


def refuse_other(wanted: Sequence[Array], found: Sequence[Array]) -> None:
    """Raises Refused: the converted network does not say what the ONNX file says."""
    for at, (one, other) in enumerate(zip(wanted, found, strict=True)):
        apart = float(np.abs(one - other).max()) / max(1.0, float(np.abs(one).max()))
        if not apart <= APART:
            raise Refused(
                f"output {at} of the converted network is {apart:.2g} off the ONNX file's; the conversion went wrong, "
                "so nothing was kept. Please report the model's architecture"
            )
