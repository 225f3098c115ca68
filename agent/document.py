"""A YAML file with the line of every key. The only file that imports PyYAML. No state."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from agent.errors import ConfigError

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML file holds, and where."""

    name: str
    data: Any
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
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{line}: is not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: is not valid YAML: {error}") from error
    finally:
        loader.dispose()
    duplicates: list[str] = []
    lines = dict(_walk(root, (), name, duplicates)) if root is not None else {}
    return Document(name=name, data=data, lines=lines, duplicates=tuple(duplicates))


def _walk(node: yaml.Node, path: KeyPath, name: str, duplicates: list[str]) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _walk(item, (*path, index), name, duplicates)
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            here = (*path, str(key.value))
            if key.value in first:
                said = f"stands twice, the first time in line {first[key.value]}; keep one"
                duplicates.append(f"{name}:{line}: {dotted_path(here)}: {said}")
            first.setdefault(str(key.value), line)
            yield here, line
            yield from _walk(value, here, name, duplicates)
