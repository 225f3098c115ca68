"""What is drawn into a picture for each object: box, outline, keypoints, words and colour. No state.

A class has one colour, whatever else is in the picture, in this run and in every other: its hue is its number times
the golden angle, which keeps the first dozens of classes of a model apart.
"""

import colorsys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agent.flow import Prediction

_GOLDEN_RATIO: Final = 0.618033988749895
_LONGEST_NAME: Final = 32
"""Letters of a class name that are drawn."""
_LETTERS: Final = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
)
"""Those that Unicode does not take apart into a letter of ASCII and an accent."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One object, as it is drawn. Coordinates are pixels of the picture, and may lie outside it."""

    left: float
    top: float
    right: float
    bottom: float
    words: str
    """ASCII only: OpenCV has no other letters."""
    colour_bgr: tuple[int, int, int]
    outline: tuple[tuple[float, float], ...] = ()
    """Corners, x before y; none: there is no outline."""
    dots: tuple[tuple[float, float], ...] = ()
    """Keypoints."""


def marks_of(predictions: Iterable[Prediction]) -> list[Mark]:
    """A mark for each object; the most certain comes last, and lies on top."""
    return [_mark(found) for found in sorted(predictions, key=lambda found: found.confidence)]


def _mark(found: Prediction) -> Mark:
    return Mark(
        found.x - found.width / 2,
        found.y - found.height / 2,
        found.x + found.width / 2,
        found.y + found.height / 2,
        f"{ascii_of(found.class_name) or f'class {found.class_id}'} {found.confidence:.2f}",
        colour_of(found.class_id),
        outline=found.points or (),
        dots=tuple((each.x, each.y) for each in found.keypoints or ()),
    )


def ascii_of(name: str) -> str:
    """`name` in ASCII: accents are left out, and letters that have no likeness there; it may become empty."""
    plain = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    letters = "".join(letter for letter in plain if letter.isascii() and letter.isprintable())
    return " ".join(letters.split())[:_LONGEST_NAME]


def colour_of(class_id: int) -> tuple[int, int, int]:
    """Blue, green and red, 0..255 each, of a class."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN_RATIO % 1.0, 0.9, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)
