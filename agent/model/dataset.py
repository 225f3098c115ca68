"""Annotated pictures to judge a model by: COCO's JSON, YOLO's label files, or a folder for each class. No state.

Whatever it was, boxes, masks and keypoints come out as a dictionary in COCO's form, which its judges read.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.errors import AgentError
from agent.model import yolo_labels
from agent.sources.image_folder import SUFFIXES

_SPLITS: Final = ("test", "valid", "val", "train")
"""Of a folder that is divided the first of these is taken: a model must not be judged by what it has learnt."""
_LARGEST_BYTES: Final = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures, and what is in them; one of the last two is not None, or there is nothing known of them."""

    folder: Path
    pictures: Mapping[int, Path]
    """By COCO's number of the image."""
    coco: Mapping[str, Any] | None = None
    """Images, annotations and categories."""
    classes: Mapping[int, str] | None = None
    """The class of each picture as a whole, by its number."""

    @property
    def names(self) -> dict[int, str]:
        """Its classes by COCO's category id; of a folder for each class, in the order of their names."""
        if self.coco is not None:
            return {category["id"]: str(category["name"]) for category in self.coco["categories"]}
        return dict(enumerate(sorted(set((self.classes or {}).values()))))

    def first(self, count: int | None) -> "Dataset":
        """Only so many pictures, in the order of their names, and what is in them; None: all."""
        kept = dict(sorted(self.pictures.items(), key=lambda each: str(each[1]))[:count])
        if self.coco is None:
            classes = None if self.classes is None else {number: self.classes[number] for number in kept}
            return Dataset(self.folder, kept, None, classes)
        images = [image for image in self.coco["images"] if image["id"] in kept]
        annotations = [each for each in self.coco["annotations"] if each["image_id"] in kept]
        return Dataset(self.folder, kept, {**self.coco, "images": images, "annotations": annotations})


def read(folder: Path, annotations: Path | None = None) -> Dataset:
    """What is in `folder`, by what lies there.

    Args:
        folder: of pictures: with COCO's JSON in it, as YOLO has it (data.yaml, images/, labels/), with a folder for
            each class, or plain.
        annotations: COCO's JSON, where it lies elsewhere or there are several.

    Raises:
        AgentError: there is no picture, or the annotations cannot be used.
    """
    if not folder.is_dir():
        raise AgentError(f"--data {folder}: there is no such folder")
    if annotations is None and (folder / "data.yaml").is_file():
        return _checked(_yolo(folder))
    folder = _split(folder)
    annotations = annotations or _only_json(folder)
    if annotations is not None:
        return _checked(_coco(folder, annotations))
    by_class = _by_class(folder)
    return _checked(by_class if by_class.pictures else Dataset(folder, dict(enumerate(_pictures(folder)))))


def _checked(found: Dataset) -> Dataset:
    if not found.pictures:
        raise AgentError(f"--data {found.folder}: holds no picture ({', '.join(SUFFIXES)})")
    return found


def _split(folder: Path) -> Path:
    """The part of a divided folder to judge by; the folder itself where it is not divided."""
    return next((folder / name for name in _SPLITS if (folder / name).is_dir()), folder)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _only_json(folder: Path) -> Path | None:
    """COCO's JSON in `folder`; None: there is none. Raises AgentError for several."""
    found = sorted(path for path in folder.glob("*.json") if path.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise AgentError(f"--data {folder}: has several JSON files ({names}); name the right one with --annotations")
    return found[0] if found else None


def _by_class(folder: Path) -> Dataset:
    found = [(path, each.name) for each in sorted(folder.iterdir()) if each.is_dir() for path in _pictures(each)]
    named = [(path, name) for path, name in found if name not in {"images", "labels"}]
    return Dataset(
        folder,
        {number: path for number, (path, _) in enumerate(named)},
        classes={number: name for number, (_, name) in enumerate(named)},
    )


def _yolo(folder: Path) -> Dataset:
    pictures, coco = yolo_labels.read(folder, SUFFIXES)
    return Dataset(folder, pictures, coco)


def _coco(folder: Path, annotations: Path) -> Dataset:
    told = _json(annotations)
    try:
        coco = {name: [dict(each) for each in told[name]] for name in ("images", "annotations", "categories")}
        places = {image["id"]: _place(folder, annotations.parent, str(image["file_name"])) for image in coco["images"]}
        for number, each in enumerate(coco["annotations"], start=1):
            _complete(each, number)
        numbers = {category["id"] for category in coco["categories"] if str(category["name"])}
        strangers = [each["id"] for each in coco["annotations"] if each["category_id"] not in numbers]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise AgentError(
            f"{annotations}: is not COCO's JSON with images, annotations, categories ({reason})"
        ) from error
    if strangers:
        raise AgentError(f"{annotations}: annotation {strangers[0]} is of a category that the file does not name")
    absent = [str(image["file_name"]) for image in coco["images"] if places[image["id"]] is None]
    if len(absent) == len(coco["images"]):
        raise AgentError(f"{annotations}: none of its pictures is in {folder}, such as {', '.join(absent[:1])}")
    pictures = {number: place for number, place in places.items() if place is not None}
    return Dataset(folder, pictures, coco).first(None)


def _complete(annotation: dict[str, Any], number: int) -> None:
    """What COCO's judges need and exporters leave out. Raises KeyError, TypeError, ValueError."""
    left, top, width, height = (float(value) for value in annotation["bbox"])
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError(f"the bbox of annotation {number} is not finite")
    annotation["bbox"] = [left, top, width, height]
    annotation["id"] = number
    annotation.setdefault("iscrowd", 0)
    annotation.setdefault("area", width * height)
    if "keypoints" in annotation:
        seen = annotation["keypoints"][2::3]
        annotation.setdefault("num_keypoints", sum(value > 0 for value in seen))


def _json(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise AgentError(f"{path}: is larger than {_LARGEST_BYTES / 1e9:g} GB; judge by fewer pictures")
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AgentError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise AgentError(f"{path}: is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise AgentError(f"{path}: is not COCO's JSON with images, annotations, categories")
    return told


def _place(folder: Path, beside: Path, name: str) -> Path | None:
    """Where a picture lies that the JSON calls `name`; None: in none of the usual places."""
    places: Iterable[Path] = (folder / name, folder / "images" / name, beside / name, folder / Path(name).name)
    return next((place for place in places if place.is_file()), None)
