"""YOLO's label files as COCO's dictionary. No state.

data.yaml                   names, perhaps kpt_shape, and where the pictures of test, val and train are
.../images/NAME.jpg
.../labels/NAME.txt         a line for each object, in units of the picture's size:
    CLASS X Y WIDTH HEIGHT                       a box, by its centre
    CLASS X1 Y1 X2 Y2 X3 Y3 ...                  an outline
    CLASS X Y WIDTH HEIGHT X1 Y1 [SEEN1] ...     a box and keypoints
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent import document, imaging, words
from agent.errors import AgentError, ConfigError, FrameUnreadable
from agent.model import labels

_SPLITS: Final = ("test", "val", "valid", "train")
_BOX: Final = 4
_LEAST_OUTLINE: Final = 6
"""Numbers of three points."""


@dataclass(frozen=True, slots=True)
class _Page:
    """data.yaml."""

    path: Path
    names: Mapping[int, str]
    keypoints: tuple[int, int] | None
    """How many, and 2 or 3 numbers for each; None: it is no pose dataset."""
    pictures: Path


@dataclass(frozen=True, slots=True)
class _Picture:
    number: int
    path: Path
    width: int
    height: int


def read(folder: Path, suffixes: Sequence[str]) -> tuple[dict[int, Path], dict[str, Any], tuple[str, ...]]:
    """The pictures by number, COCO's dictionary, and what was left out, in words.

    Raises:
        AgentError: names the file and the line.
    """
    page = _page(folder)
    paths = sorted(path for path in page.pictures.iterdir() if path.suffix.lower() in suffixes and path.is_file())
    pictures = [_opened(number, path) for number, path in enumerate(paths)]
    annotations = [each for picture in pictures for each in _objects(picture, page)]
    coco = {
        "images": [
            {"id": one.number, "file_name": one.path.name, "width": one.width, "height": one.height} for one in pictures
        ],
        "annotations": [{**each, "id": number} for number, each in enumerate(annotations, start=1)],
        "categories": [_category(class_id, name, page) for class_id, name in page.names.items()],
    }
    return {one.number: one.path for one in pictures}, coco, tuple(_strays(pictures))


def _strays(pictures: Sequence[_Picture]) -> Iterator[str]:
    """Label files whose pictures are not there."""
    known = {_labels_of(one.path) for one in pictures}
    folders = {path.parent for path in known}
    strays = sorted(path for folder in folders for path in folder.glob("*.txt") if path not in known)
    strays = [path for path in strays if path.name != "classes.txt"]  # some tools keep the names there
    if strays:
        yield f"{words.plural(len(strays), 'label file')} without a picture, such as {strays[0]}: left out"


def _category(class_id: int, name: str, page: _Page) -> dict[str, Any]:
    points = [] if page.keypoints is None else [str(number) for number in range(page.keypoints[0])]
    return {"id": class_id, "name": name, **({"keypoints": points} if points else {})}


def _page(folder: Path) -> _Page:
    path = folder / "data.yaml"
    page = document.read(path)
    if page.duplicates:
        raise ConfigError(*page.duplicates)
    told = page.data
    names = told.get("names") if isinstance(told, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(str(number).isdecimal() for number in names):
        raise AgentError(f"{path}: has no names; they are a list, or a mapping of the class's number to its name")
    labels.texts([(("names", number), name) for number, name in names.items()], page)
    shape = told.get("kpt_shape")
    if shape is not None and not (isinstance(shape, list) and len(shape) == 2 and shape[1] in (2, 3)):  # noqa: PLR2004
        raise AgentError(f"{path}: kpt_shape is {shape}; it is [points, 2] or [points, 3]")
    keypoints = None if shape is None else (int(shape[0]), int(shape[1]))
    return _Page(path, {int(number): str(name) for number, name in names.items()}, keypoints, _folder(folder, told))


def _folder(folder: Path, told: Mapping[str, Any]) -> Path:
    """Where the pictures to judge by are: what the page says, wherever its author had it, else the usual places."""
    root = folder / str(told.get("path") or "")
    said = [str(told[split]) for split in _SPLITS if isinstance(told.get(split), str)]
    # Exporters write paths of the author's own machine, such as ../test/images: their end is what counts.
    tails = [Path(*[part for part in Path(each).parts if part not in ("..", "/")]) for each in said]
    usual = (
        [Path(split, "images") for split in _SPLITS] + [Path("images", split) for split in _SPLITS] + [Path("images")]
    )
    places = [base / each for each in (*map(Path, said), *tails, *usual) for base in (root, folder)]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise AgentError(f"{folder / 'data.yaml'}: the pictures are nowhere it says, nor in {folder / 'images'}")
    return found


def _opened(number: int, path: Path) -> _Picture:
    try:
        height, width = imaging.read_image(path).shape[:2]
    except FrameUnreadable as error:
        raise AgentError(f"{error}; take it out, or put the whole file there") from error
    return _Picture(number, path, width, height)


def _objects(picture: _Picture, page: _Page) -> list[dict[str, Any]]:
    """What the picture's label file says; a picture without one has no objects."""
    path = _labels_of(picture.path)
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"{path}: cannot be read: {error}") from error
    return [
        _object(line, f"{path}:{number}", picture, page) for number, line in enumerate(lines, start=1) if line.strip()
    ]


def _labels_of(picture: Path) -> Path:
    """The last folder called images is labels there."""
    parts = list(picture.with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts)


def _object(line: str, place: str, picture: _Picture, page: _Page) -> dict[str, Any]:
    try:
        word, *words = line.split()
        values = [float(each) for each in words]
    except ValueError as error:
        raise AgentError(f"{place}: has something else than numbers: {line[:60]}") from error
    if not all(map(math.isfinite, values)):
        raise AgentError(f"{place}: has something else than numbers: {line[:60]}")
    class_id = int(word) if word.isdecimal() else -1
    if class_id not in page.names:
        raise AgentError(f"{place}: is of class {word}, which {page.path} does not name")
    found = {"image_id": picture.number, "category_id": class_id, "iscrowd": 0}
    if len(values) >= _BOX and (page.keypoints is not None or len(values) == _BOX) and min(values[2:_BOX]) < 0:
        raise AgentError(f"{place}: has a box of negative width or height: {line[:60]}")
    if page.keypoints is not None:
        return found | _pose(values, page.keypoints, place, picture)
    if len(values) == _BOX:
        return found | _box(values, picture)
    if len(values) >= _LEAST_OUTLINE and len(values) % 2 == 0:
        return found | _outline(values, picture)
    raise AgentError(f"{place}: has {len(values)} numbers after the class; a box has 4, an outline 6, 8, 10 and so on")


def _box(values: Sequence[float], picture: _Picture) -> dict[str, Any]:
    x, y, width, height = (value * side for value, side in zip(values, _sides(picture) * 2, strict=True))
    return {"bbox": [x - width / 2, y - height / 2, width, height], "area": width * height}


def _outline(values: Sequence[float], picture: _Picture) -> dict[str, Any]:
    across = [value * picture.width for value in values[::2]]
    down = [value * picture.height for value in values[1::2]]
    left, top, width, height = min(across), min(down), max(across) - min(across), max(down) - min(down)
    following = [*zip(across[1:], down[1:], strict=True), (across[0], down[0])]
    doubled = sum(x * next_y - next_x * y for x, y, (next_x, next_y) in zip(across, down, following, strict=True))
    flat = [value for point in zip(across, down, strict=True) for value in point]
    return {"bbox": [left, top, width, height], "area": abs(doubled) / 2, "segmentation": [flat]}


def _pose(values: Sequence[float], shape: tuple[int, int], place: str, picture: _Picture) -> dict[str, Any]:
    points, numbers = shape
    if len(values) != _BOX + points * numbers:
        wanted = _BOX + points * numbers
        raise AgentError(
            f"{place}: has {len(values)} numbers after the class; kpt_shape {list(shape)} asks for {wanted}"
        )
    flat: list[float] = []
    for first in range(_BOX, len(values), numbers):
        x, y = values[first] * picture.width, values[first + 1] * picture.height
        seen = values[first + 2] if numbers == 3 else 2.0 * (x > 0 or y > 0)  # noqa: PLR2004 - with a word of its own
        flat += [x, y, seen]
    return _box(values[:_BOX], picture) | {"keypoints": flat, "num_keypoints": sum(each > 0 for each in flat[2::3])}


def _sides(picture: _Picture) -> tuple[int, int]:
    return picture.width, picture.height
