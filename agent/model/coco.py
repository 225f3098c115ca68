"""COCO's JSON: what in it can be judged by, and what is left out, in words. No state."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from agent import words
from agent.errors import AgentError
from agent.model.files import ensure_regular

_LARGEST_BYTES: Final = 2_000_000_000
_WHAT: Final = "COCO's JSON with images, annotations and categories"
_SECTIONS: Final = ("images", "annotations", "categories")
_LEAST_OUTLINE: Final = 6
"""Numbers of three points."""
Entry: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Read:
    """What a file holds."""

    pictures: Mapping[int, Path]
    """By the image's id."""
    coco: Mapping[str, Any]
    """Images, annotations and categories that can be judged by."""
    notes: tuple[str, ...]
    """What was left out, and why."""


def read(file: Path, folder: Path) -> Read:
    """The annotations in `file` of the pictures in `folder`.

    Raises:
        AgentError: it is not COCO's JSON, and which entry and key are wrong; or none of its pictures is there.
    """
    sections = _sections(file)
    images, categories = (_by_id(sections[name], name, file) for name in ("images", "categories"))
    for number, category in categories.items():
        _text(category, "name", f"{file}: category {number}")
    places = {number: _place(number, image, file, folder) for number, image in images.items()}
    gone = [str(images[number]["file_name"]) for number, place in places.items() if place is None]
    if gone and len(gone) == len(images):
        raise AgentError(f"{file}: none of its pictures is in {folder}, such as {gone[0]}")
    objects = [_object(each, number, file, categories) for number, each in enumerate(sections["annotations"], start=1)]
    there = {number: place for number, place in places.items() if place is not None}
    kept, notes = _kept(objects, images, there)
    if gone:
        are = "is" if len(gone) == 1 else "are"
        lost = sum(each["image_id"] in images and each["image_id"] not in there for each in objects)
        notes.append(
            f"{words.plural(len(gone), 'picture')} of {file.name} {are} not there, such as {gone[0]}: left out, with "
            f"{words.plural(lost, 'annotation')}"
        )
    coco = {
        "images": [image for number, image in images.items() if number in there],
        "annotations": [{**each, "id": number} for number, each in enumerate(kept, start=1)],
        "categories": list(categories.values()),
    }
    return Read(there, coco, tuple(notes))


def _kept(
    objects: Iterable[Entry], images: Mapping[int, Entry], there: Mapping[int, Path]
) -> tuple[list[Entry], list[str]]:
    """The objects of pictures that are there, without what is impossible, which is told."""
    reasons: Sequence[tuple[str, Callable[[Entry], bool]]] = (
        ("of an image that the file does not name", lambda each: each["image_id"] not in images),
        ("with a negative width or height", lambda each: min(each["bbox"][2:]) < 0),
    )
    kept, notes = list(objects), []
    for words_, wrong in reasons:
        if left := [each["id"] for each in kept if wrong(each)]:
            notes.append(f"{words.plural(len(left), 'annotation')} {words_}, such as {left[0]}: left out")
            kept = [each for each in kept if not wrong(each)]
    return [each for each in kept if each["image_id"] in there], notes


def _sections(file: Path) -> Mapping[str, list[Entry]]:
    told = _json(file)
    for name in _SECTIONS:
        entries = told.get(name) if isinstance(told, dict) else None
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise AgentError(f"{file}: is not {_WHAT}: {name} should be a list of objects, each with its keys")
    return {name: [dict(each) for each in told[name]] for name in _SECTIONS}


def _json(file: Path) -> Any:  # noqa: ANN401 - whatever the file held
    ensure_regular(file)
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise AgentError(f"{file}: is larger than {_LARGEST_BYTES / 1e9:g} GB; judge by fewer pictures")
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise AgentError(f"{file}: cannot be read: {words.reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise AgentError(f"{file}: is not JSON: {error}") from error


def _by_id(entries: Iterable[Entry], name: str, file: Path) -> dict[int, Entry]:
    found: dict[int, Entry] = {}
    for place, each in enumerate(entries, start=1):
        number = each.get("id")
        if not isinstance(number, int):
            raise AgentError(f"{file}: entry {place} of {name} has no id that is a whole number")
        if number in found:
            raise AgentError(f"{file}: two {name} have the id {number}; give each its own")
        found[number] = each
    return found


def _text(entry: Entry, key: str, called: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise AgentError(f"{called}: its {key} is no text")
    return value


def _place(number: int, image: Entry, file: Path, folder: Path) -> Path | None:
    """Where a picture lies; None: in none of the usual places."""
    name = _text(image, "file_name", f"{file}: image {number}")
    places = (folder / name, folder / "images" / name, file.parent / name, folder / Path(name).name)
    return next((place for place in places if place.is_file()), None)


def _object(entry: Entry, number: int, file: Path, categories: Mapping[int, Entry]) -> Entry:
    """With what COCO's judges need and exporters leave out. Raises AgentError."""
    own = entry.get("id", f"number {number}")
    called = f"{file}: annotation {own}"
    for key in ("image_id", "category_id"):
        if not isinstance(entry.get(key), int):
            raise AgentError(f"{called}: its {key} is no whole number")
    if entry["category_id"] not in categories:
        raise AgentError(f"{called}: is of a category that the file does not name ({entry['category_id']})")
    box = _numbers(entry, "bbox", called)
    more: Entry = {"id": own, "bbox": box, "iscrowd": int(bool(entry.get("iscrowd"))), "area": box[2] * box[3]}
    if isinstance(entry.get("area"), (int, float)) and math.isfinite(entry["area"]):
        more["area"] = entry["area"]
    if entry.get("keypoints"):
        points = _numbers(entry, "keypoints", called)
        more["keypoints"], more["num_keypoints"] = points, sum(value > 0 for value in points[2::3])
    _check_outline(entry.get("segmentation"), called)
    return {**entry, **more}


_COUNTS: Final[Mapping[str, tuple[Callable[[int], bool], str]]] = {
    "bbox": (lambda count: count == 4, "four: left, top, width, height"),  # noqa: PLR2004 - of a box
    "keypoints": (lambda count: count % 3 == 0, "three for each point"),
}


def _numbers(entry: Entry, key: str, called: str) -> list[float]:
    values, (fits, count) = entry.get(key), _COUNTS[key]
    right = isinstance(values, list) and all(isinstance(each, (int, float)) and math.isfinite(each) for each in values)
    if not right or not isinstance(values, list) or not fits(len(values)):
        raise AgentError(f"{called}: its {key} should be numbers, {count}")
    return [float(value) for value in values]


def _check_outline(outline: Any, called: str) -> None:  # noqa: ANN401 - whatever the file held
    """Raises AgentError: it is neither runs nor polygons of three points and more, over which the judge would fall."""
    if not outline or isinstance(outline, dict):
        return
    polygons = isinstance(outline, list) and all(
        isinstance(each, list)
        and len(each) >= _LEAST_OUTLINE
        and len(each) % 2 == 0
        and all(isinstance(value, (int, float)) for value in each)
        for each in outline
    )
    if not polygons:
        raise AgentError(f"{called}: its segmentation should be polygons of at least three points, or COCO's runs")
