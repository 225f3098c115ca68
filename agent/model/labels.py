"""Class names from a file of the user's. No state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agent import document, words
from agent.document import Document, KeyPath
from agent.errors import AgentError, ConfigError
from agent.model.files import ensure_regular

_UP_TO_BYTES: Final = 10_000_000
_FORMS: Final = (
    "a text file with one name a line, a YAML or JSON file with `names` (a list, or a mapping of number to name), or "
    "COCO's JSON with `categories`"
)


def read(path: Path) -> tuple[str, ...]:
    """The class names in a file, by class id.

    Raises:
        AgentError: it cannot be read, holds no class names, or one of them is none; says which.
    """
    ensure_regular(path)
    try:
        if path.stat().st_size > _UP_TO_BYTES:
            raise AgentError(f"{path}: is over {_UP_TO_BYTES // 1_000_000} MB, which no list of class names is")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AgentError(f"{path}: cannot be read: {words.reason(error)}") from error
    except UnicodeDecodeError as error:
        raise AgentError(f"{path}: is not text; give {_FORMS}") from error
    places, names = _structured(text, path) if _is_structured(path) else _lines(text, path)
    if not names:
        raise AgentError(f"{path}: holds no class names; give {_FORMS}")
    _refuse_wrong(places, names)
    return tuple(names)


def _is_structured(path: Path) -> bool:
    return path.suffix.lower() in {".yaml", ".yml", ".json"}


def _lines(text: str, path: Path) -> tuple[list[str], list[str]]:
    """Where each name stands, and the names; empty lines at the end are none."""
    names = [line.strip() for line in text.rstrip().splitlines()]
    return [f"{path}:{number}" for number in range(1, len(names) + 1)], names


def _structured(text: str, path: Path) -> tuple[list[str], list[str]]:
    page = document.parse(text, name=str(path))  # JSON is YAML, too
    if page.duplicates:
        raise ConfigError(*page.duplicates)
    data = page.data
    if isinstance(data, dict) and "categories" in data:
        return _categories(data["categories"], page)
    key = next((key for key in ("names", "labels") if isinstance(data, dict) and key in data), None)
    names = data if key is None else data[key]
    return texts(_paths(names, () if key is None else (key,), page), page)


def _paths(names: Any, above: KeyPath, page: Document) -> list[tuple[KeyPath, Any]]:  # noqa: ANN401 - whatever it held
    """Each name by where it stands: of a list, or of a mapping of 0, 1, 2 ...; none where it is neither."""
    if isinstance(names, list):
        return [((*above, number), name) for number, name in enumerate(names)]
    if not isinstance(names, dict) or (not above and not any(key.isdecimal() for key in names)):
        return []
    for number in map(str, range(len(names))):
        if number not in names:
            raise AgentError(
                f"{page.place(above)}: has {words.plural(len(names), 'name')}, but none for {number}: classes are "
                f"numbered from 0 to {len(names) - 1} without a gap"
            )
    return [((*above, str(number)), names[str(number)]) for number in range(len(names))]


def texts(found: Sequence[tuple[KeyPath, Any]], page: Document) -> tuple[list[str], list[str]]:
    """Where each name stands, and the names.

    Raises:
        AgentError: YAML reads one of them as something else than text, such as `no`, `null` or 1.5.
    """
    for path, name in found:
        if not isinstance(name, str):
            raise AgentError(f"{page.place(path)}: is no text, but {_as_yaml(name)}; put the name in quotes")
    return [page.place(path) for path, _ in found], [name for _, name in found]


def _as_yaml(value: Any) -> str:  # noqa: ANN401 - whatever the file held
    known = {True: "true (yes, on)", False: "false (no, off)", None: "nothing (null)"}
    return known[value] if value is None or isinstance(value, bool) else f"the value {value!r}"


def _categories(categories: Any, page: Document) -> tuple[list[str], list[str]]:  # noqa: ANN401 - whatever it held
    """COCO's: `id` and `name`. Models number classes in the order of the ids, for these have gaps."""
    try:
        found = sorted((int(each["id"]), place, each["name"]) for place, each in enumerate(categories))
    except (TypeError, KeyError, ValueError) as error:
        raise AgentError(f"{page.name}: its categories are not COCO's, each with id and name") from error
    return texts([(("categories", place, "name"), name) for _, place, name in found], page)


def _refuse_wrong(places: Sequence[str], names: Sequence[str]) -> None:
    """Raises AgentError: a name is empty, stands twice, or is none that can be printed."""
    first: dict[str, str] = {}
    for number, (place, name) in enumerate(zip(places, names, strict=True)):
        if not name.strip():
            raise AgentError(
                f"{place}: is empty; the name of class {number} belongs there, for names go by their order"
            )
        if words.printable(name) != name:
            raise AgentError(f"{place}: {words.printable(name)} has signs that cannot be printed; take them out")
        if name in first:
            raise AgentError(f"{place}: {name} is the name of another class already ({first[name]}); give each its own")
        first[name] = place
