"""pydantic's findings as sentences for the person who edits the file: where, what, what is allowed. No state."""

import difflib
import re
from collections.abc import Iterable
from functools import reduce
from typing import Any, TypeAlias

from pydantic_core import ErrorDetails

from agent.document import Document, KeyPath
from agent.options import BARE_SECRET

_Schema: TypeAlias = dict[str, Any]


class Mistakes:
    """Words the mistakes of one document against the JSON Schema it should follow."""

    def __init__(self, page: Document, schema: _Schema) -> None:
        self._page = page
        self._schema = schema

    def sentences(self, problems: Iterable[ErrorDetails]) -> list[str]:
        """One for each mistake, in the order of the file's lines."""
        found = [(_in_document(problem["loc"], self._page.data), problem) for problem in problems]
        found.sort(key=lambda item: self._page.line(item[0]))
        return [self._sentence(path, problem) for path, problem in found if not self._follows(path, problem)]

    def _follows(self, path: KeyPath, problem: ErrorDetails) -> bool:
        """A list is said to be too short when it is only its items that are wrong."""
        return problem["type"] == "too_short" and bool(reduce(lambda value, step: value[step], path, self._page.data))

    def _sentence(self, path: KeyPath, problem: ErrorDetails) -> str:
        """`file:line: key: what is wrong; what is allowed; the nearest right name`."""
        kind = problem["type"]
        if kind == "union_tag_invalid":
            tags = re.findall(r"'([^']*)'", str(problem["ctx"]["expected_tags"]))
            return f"{self._page.place((*path, 'type'))}: {_unknown(str(problem['ctx']['tag']), tags)}"
        return f"{self._page.place(path)}: {self._words(kind, path, problem)}"

    def _words(self, kind: str, path: KeyPath, problem: ErrorDetails) -> str:
        given = problem["input"]
        if kind == "extra_forbidden":
            return "there is no such key here" + _nearest(str(path[-1]), sorted(self._section(path)))
        if kind == "missing":
            return f"is missing: {self._section(path).get(str(path[-1]), {}).get('description', 'give it')}"
        if kind == "union_tag_not_found":
            mapping = self._resolve(self._node(path), None).get("discriminator", {}).get("mapping", {})
            return f"needs a type: one of {', '.join(mapping)}"
        if kind == "too_short":
            return "needs at least one item"
        if kind in ("literal_error", "enum"):
            return _unknown(str(given), re.findall(r"'([^']*)'", str(problem["ctx"]["expected"])))
        text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if kind == "string_pattern_mismatch":
            text = "may hold letters, digits, - and _ only, and at most 63 of them"
        echoed = not isinstance(given, dict | list) and kind != BARE_SECRET
        return f"{text} (it is {given!r})" if echoed else text

    def _section(self, path: KeyPath) -> dict[str, _Schema]:
        """The keys that the section holding `path` may have, with their schemas."""
        inner = reduce(lambda value, step: value[step], path[:-1], self._page.data)
        properties: dict[str, _Schema] = self._resolve(self._node(path[:-1]), inner).get("properties", {})
        return properties

    def _node(self, path: KeyPath) -> _Schema:
        """The schema at `path`."""
        node, data = self._schema, self._page.data
        for step in path:
            node = self._resolve(node, data)
            node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
            data = data[step]
        return node

    def _resolve(self, node: _Schema, data: object) -> _Schema:
        """Follow references and choices to the schema that describes `data`."""
        while True:
            choices = node.get("discriminator", {}).get("mapping", {})
            tag = data.get("type") if isinstance(data, dict) else None
            if "$ref" in node or tag in choices:
                node = self._schema["$defs"][str(node.get("$ref", choices.get(tag))).rpartition("/")[2]]
            elif "anyOf" in node:
                node = next(choice for choice in node["anyOf"] if choice.get("type") != "null")
            else:
                return node


def _in_document(location: tuple[int | str, ...], data: object) -> KeyPath:
    """Pydantic's path without the steps that are names of choices rather than keys of the file."""
    path: list[int | str] = []
    for index, step in enumerate(location):
        if isinstance(data, dict) and (step in data or index == len(location) - 1):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int):
            data = data[step]
        else:
            continue
        path.append(step)
    return tuple(path)


def _unknown(given: str, allowed: list[str]) -> str:
    return f"{given!r} is unknown{_nearest(given, allowed)}"


def _nearest(given: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(given, allowed, n=1)
    listed = f"; allowed: {', '.join(allowed)}" if allowed else ""
    return f"; did you mean {near[0]}?{listed}" if near else listed
