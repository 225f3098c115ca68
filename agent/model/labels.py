"""Class names from a file of the user's. No state."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agent import document
from agent.errors import AgentError, ConfigError

_UP_TO_BYTES: Final = 10_000_000
_FORMS: Final = (
    "a text file with one name a line, a YAML or JSON file with `names` (a list, or a mapping of number to name), or "
    "COCO's JSON with `categories`"
)


def read(path: Path) -> tuple[str, ...]:
    """The class names in a file, by class id.

    Raises:
        AgentError: it cannot be read, or holds no class names.
    """
    try:
        if path.stat().st_size > _UP_TO_BYTES:
            raise AgentError(f"{path}: is over {_UP_TO_BYTES // 1_000_000} MB, which no list of class names is")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AgentError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AgentError(f"{path}: is not text; give {_FORMS}") from error
    names = _lines(text) if path.suffix.lower() not in {".yaml", ".yml", ".json"} else _structured(text, path)
    if not names or not all(names):
        raise AgentError(f"{path}: holds no class names; give {_FORMS}")
    return names


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


def _structured(text: str, path: Path) -> tuple[str, ...]:
    try:
        data = document.parse(text, name=str(path)).data  # JSON is YAML, too
    except ConfigError as error:
        raise AgentError(str(error)) from error
    if isinstance(data, dict) and "categories" in data:
        return _categories(data["categories"], path)
    return _names(data.get("names", data.get("labels")) if isinstance(data, dict) else data)


def _categories(categories: Any, path: Path) -> tuple[str, ...]:  # noqa: ANN401 - whatever the file held
    """COCO's: `id` and `name`. Models number classes in the order of the ids, for these have gaps."""
    try:
        found = sorted((int(each["id"]), str(each["name"])) for each in categories)
    except (TypeError, KeyError, ValueError) as error:
        raise AgentError(f"{path}: its categories are not COCO's, each with id and name") from error
    return tuple(name for _, name in found)


def _names(names: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever the file held
    """A list, or a mapping of 0, 1, 2 ... to names; empty when it is neither."""
    if isinstance(names, Mapping):
        names = [names.get(str(number), "") for number in range(len(names))]
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
