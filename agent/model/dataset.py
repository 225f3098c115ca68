"""Annotated pictures to judge a model by: COCO's JSON, YOLO's label files, or a folder for each class. No state.

Whatever it was, boxes, masks and keypoints come out as a dictionary in COCO's form, which its judges read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from agent.errors import AgentError
from agent.model import coco, yolo_labels
from agent.sources.image_folder import SUFFIXES

_SPLITS: Final = ("test", "valid", "val", "train")
"""Of a folder that is divided the first of these is taken: a model must not be judged by what it has learnt."""


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
    notes: tuple[str, ...] = ()
    """What was left out of it, and why."""

    @property
    def annotated(self) -> bool:
        """Whether it tells anything to judge by."""
        return self.classes is not None or bool(self.coco and self.coco["annotations"])

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
            return replace(self, pictures=kept, classes=classes)
        images = [image for image in self.coco["images"] if image["id"] in kept]
        annotations = [each for each in self.coco["annotations"] if each["image_id"] in kept]
        return replace(self, pictures=kept, coco={**self.coco, "images": images, "annotations": annotations})


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
    pictures, found, notes = yolo_labels.read(folder, SUFFIXES)
    return Dataset(folder, pictures, found, notes=notes)


def _coco(folder: Path, annotations: Path) -> Dataset:
    found = coco.read(annotations, folder)
    return Dataset(folder, found.pictures, found.coco, notes=found.notes)
