"""A YAML file with the line of every key. The only file that imports PyYAML. No state."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from agent.errors import ConfigError

KeyPath: TypeAlias = tuple[str | int, ...]

_TAG: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = frozenset(f"{_TAG}{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null"))
_MERGE: Final = f"{_TAG}merge"
_TAGGED: Final = "found ! before a value, which has no meaning here; put a value that begins with ! in quotes"
_OWN_WORDS: Final = {
    "undefined alias": "found * before a name that no & defines; put a value that begins with * in quotes",
    "duplicate anchor": "found the same name after & twice; put a value that begins with & in quotes",
    "tag handle": _TAGGED,
}
_LONGEST: Final = 100_000
"""Keys and items, anchors written out; a file that unfolds to more was not meant."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML file holds, and where."""

    name: str
    data: Any
    """Mappings with text for keys, lists, text, numbers, booleans and None; never a date or a set."""
    lines: dict[KeyPath, int]
    """Line, from 1, of each key and list item."""
    duplicates: tuple[str, ...]
    """One sentence for each key that stands twice in its section."""

    def place(self, path: KeyPath) -> str:
        """`file:line: key.path`, with the line of the nearest part that is there."""
        dotted = dotted_path(path)
        return f"{self.name}:{self.line(path)}: {dotted}" if dotted else f"{self.name}:1"

    def line(self, path: KeyPath) -> int:
        """The line of the nearest part of `path` that is there."""
        known = next((path[:end] for end in range(len(path), -1, -1) if path[:end] in self.lines), ())
        return self.lines.get(known, 1)


def dotted_path(path: KeyPath) -> str:
    """`cameras[0].source.fps` for ("cameras", 0, "source", "fps")."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read(path: Path) -> Document:
    """Read a YAML file. Raises ConfigError when it is absent, not text or not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); is it really a YAML file?") from error
    return parse(text, name=str(path))


def parse(text: str, *, name: str) -> Document:
    """Parse YAML text; `name` is how errors call it. Raises ConfigError."""
    preparation = _Preparation(name)
    try:
        loader = _Loader(text)
        root = loader.get_single_node() or yaml.ScalarNode(f"{_TAG}null", "")
        preparation.visit(root, ())
        data = loader.construct_document(root)
        lines = _lines(root)
    except yaml.reader.ReaderError as error:
        where = f"character {error.position + 1}"
        raise ConfigError(f"{name}: is not text ({where}); is it really a YAML file?") from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{name}{_line_of(error)}: is not valid YAML: {_words(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: is nested too deeply; is it really a configuration?") from error
    return Document(name=name, data=data, lines=lines, duplicates=tuple(preparation.duplicates))


def written(data: object) -> str:
    """`data` as a YAML file that people read, its keys in their order: mappings, lists, text, numbers, booleans."""
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Loader(yaml.SafeLoader):
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - PyYAML's
        """As PyYAML, but a number that it cannot convert is an error with its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise yaml.constructor.ConstructorError(
                None, None, "found a value that is not what it looks like; put it in quotes", node.start_mark
            ) from error


def _line_of(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f":{mark.line + 1}" if mark else ""


def _words(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words, except where they would repeat what may be a password: one that begins with *, & or !."""
    text = ", ".join(part for part in (error.context, error.problem) if part)
    return next((words for sign, words in _OWN_WORDS.items() if sign in text), text)


class _Preparation:
    """One pass over a YAML tree before it becomes data: keys and dates turn into plain text."""

    def __init__(self, name: str) -> None:
        self.duplicates: list[str] = []
        self._name = name
        self._open: set[int] = set()
        self._done: set[int] = set()

    def visit(self, node: yaml.Node, path: KeyPath) -> None:
        """Prepare `node` and all below it, each once however many aliases lead there.

        Raises:
            ConstructorError: a section that contains itself, or a tag that no configuration needs, such as !!binary.
        """
        if id(node) in self._open:
            raise _refusal(node, "found a section that contains itself; write it out")
        if id(node) in self._done:
            return
        if node.tag == f"{_TAG}timestamp":
            node.tag = f"{_TAG}str"
        if node.tag not in _PLAIN_TAGS:
            raise _refusal(node, _TAGGED)
        self._open.add(id(node))
        self._visit_inside(node, path)
        self._open.remove(id(node))
        self._done.add(id(node))

    def _visit_inside(self, node: yaml.Node, path: KeyPath) -> None:
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*path, index))
        if isinstance(node, yaml.MappingNode):
            self._visit_section(node, path)

    def _visit_section(self, node: yaml.MappingNode, path: KeyPath) -> None:
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal(key, "found a key that is not one word; is a quote or a colon missing?")
            here = (*path, key.value)
            if key.value in first:
                said = f"stands twice, the first time in line {first[key.value]}; keep one"
                self.duplicates.append(f"{self._name}:{line}: {dotted_path(here)}: {said}")
            first.setdefault(key.value, line)
            if key.tag != _MERGE:
                key.tag = f"{_TAG}str"
            self.visit(value, here)


def _refusal(node: yaml.Node, words: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, words, node.start_mark)


def _lines(root: yaml.Node) -> dict[KeyPath, int]:
    """The line of every key and item, those included that came through a merge key (<<)."""
    lines: dict[KeyPath, int] = {}
    for path, line in _walk(root, ()):
        lines[path] = line
        if len(lines) > _LONGEST:
            raise _refusal(root, f"found more than {_LONGEST} keys and items; do anchors repeat each other?")
    return lines


def _walk(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _walk(item, (*path, index))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line + 1
            yield from _walk(value, (*path, key.value))
