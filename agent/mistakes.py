"""pydantic's findings as sentences for the person who edits the file: where, what, what is allowed. No state."""

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import groupby
from typing import Any, Final, TypeAlias

from pydantic_core import ErrorDetails

from agent import logs
from agent.document import Document, KeyPath
from agent.options import BARE_SECRET

_Schema: TypeAlias = dict[str, Any]

_SECTION: Final = "should be a section: keys with values, indented below it"
_NUMBER: Final = "should be a number"
_WHOLE: Final = "should be a whole number"
_TEXT: Final = "should be text; put it in quotes"
_SWITCH: Final = "should be true or false"
_PLAIN_WORDS: Final = {
    "bool_parsing": _SWITCH,
    "bool_type": _SWITCH,
    "dict_type": _SECTION,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "model_attributes_type": _SECTION,
    "model_type": _SECTION,
    "path_type": _TEXT,
    "string_pattern_mismatch": "may hold letters, digits, - and _ only, begins with a letter or digit, "
    "and has at most 63 of them",
    "string_type": _TEXT,
    "too_short": "needs at least one item",
    "too_long": "has too many items",
    "tuple_type": "should be a list: each item on a line of its own that begins with -",
}
"""In place of pydantic's words, which are for programmers."""
_NOT_ECHOED: Final = (BARE_SECRET, "extra_forbidden", "missing", "literal_error", "enum")
_ECHO_LETTERS: Final = 60


class Mistakes:
    """Words the mistakes of one document against the JSON Schema it should follow."""

    def __init__(self, page: Document, schema: _Schema) -> None:
        self._page = page
        self._schema = schema

    def sentences(self, problems: Iterable[ErrorDetails]) -> list[str]:
        """One for each mistake, in the order of the file's lines."""
        found = [(_in_document(problem, self._page.data), problem) for problem in problems]
        found.sort(key=lambda item: self._page.line(item[0]))
        groups = [(path, [problem for _, problem in group]) for path, group in groupby(found, key=lambda item: item[0])]
        return [self._sentence(path, group) for path, group in groups if not self._follows(path, group[0])]

    def _follows(self, path: KeyPath, problem: ErrorDetails) -> bool:
        """A list is said to be too short when it is only its items that are wrong."""
        return problem["type"] == "too_short" and bool(reduce(lambda value, step: value[step], path, self._page.data))

    def _sentence(self, path: KeyPath, problems: Sequence[ErrorDetails]) -> str:
        """`file:line: key: what is wrong; what is allowed; the nearest right name`.

        Several problems with one key are a value that fits none of its choices.
        """
        if problems[0]["type"] == "union_tag_invalid":
            return f"{self._page.place((*path, 'type'))}: {self._words(path, problems[0])}"
        words = " or ".join(dict.fromkeys(self._words(path, problem) for problem in problems))
        return f"{self._page.place(path)}: {words}{_echo(problems[0])}"

    def _words(self, path: KeyPath, problem: ErrorDetails) -> str:
        match problem["type"]:
            case "extra_forbidden":
                return "there is no such key here" + _nearest(str(path[-1]), sorted(self._section(path)))
            case "missing":
                return self._missing(path)
            case "union_tag_not_found":
                return _needs_type(self._node(path).get("discriminator", {}).get("mapping", {}))
            case "union_tag_invalid":
                tags = _quoted(problem["ctx"]["expected_tags"])
                return _needs_type(tags) if problem["input"]["type"] is None else _unknown(problem["ctx"]["tag"], tags)
            case "literal_error" | "enum":
                return _unknown(problem["input"], _quoted(problem["ctx"]["expected"]))
            case kind:
                text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
                return _PLAIN_WORDS.get(kind, text)

    def _missing(self, path: KeyPath) -> str:
        wanted = self._section(path).get(str(path[-1]), {})
        if "const" in wanted:
            return _needs_type([str(wanted["const"])])
        return f"is missing: {wanted.get('description', 'give it')}"

    def _section(self, path: KeyPath) -> dict[str, _Schema]:
        """The keys that the section holding `path` may have, with their schemas."""
        inner = reduce(lambda value, step: value[step], path[:-1], self._page.data)
        properties: dict[str, _Schema] = self._resolve(self._node(path[:-1]), inner).get("properties", {})
        return properties

    def _node(self, path: KeyPath) -> _Schema:
        """The schema at `path`, choices resolved by the data's `type` where it has a known one."""
        node, data = self._schema, self._page.data
        for step in path:
            node = self._resolve(node, data)
            node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
            data = data[step]
        return self._resolve(node, data)

    def _resolve(self, node: _Schema, data: object) -> _Schema:
        """Follow references and choices to the schema that describes `data`."""
        while True:
            choices = node.get("discriminator", {}).get("mapping", {})
            tag = str(data.get("type")) if isinstance(data, dict) else None
            if "$ref" in node or tag in choices:
                node = self._schema["$defs"][str(node.get("$ref", choices.get(tag))).rpartition("/")[2]]
            elif "anyOf" in node:
                node = next(choice for choice in node["anyOf"] if choice.get("type") != "null")
            else:
                return node


def _in_document(problem: ErrorDetails, data: Any) -> KeyPath:  # noqa: ANN401 - whatever the YAML held
    """Pydantic's path without the steps that are names of choices rather than keys of the file."""
    path: list[int | str] = []
    steps = problem["loc"]
    for step in steps[:-1]:
        if _leads_inside(step, data):
            data = data[step]
            path.append(step)
    names_a_key = problem["type"] in ("missing", "extra_forbidden")
    if steps and (names_a_key or _leads_inside(steps[-1], data)):
        path.append(steps[-1])
    return tuple(path)


def _leads_inside(step: int | str, data: Any) -> bool:  # noqa: ANN401 - whatever the YAML held
    """Whether `step` is a key or item here; the name of a choice is the section's type, and is not."""
    if isinstance(data, dict):
        return step in data and step != data.get("type")
    return isinstance(data, list) and isinstance(step, int)


def _echo(problem: ErrorDetails) -> str:
    """What stands there now, shortened; not a section, what is named already, or what may hold a secret."""
    given, kind = problem["input"], problem["type"]
    if isinstance(given, dict | list) or kind in _NOT_ECHOED or kind.startswith("url_"):
        return ""
    text = logs.redact("nothing" if given is None else repr(given))
    return f" (it is {text if len(text) <= _ECHO_LETTERS else text[:_ECHO_LETTERS] + '…'})"


def _quoted(text: object) -> list[str]:
    """The names in pydantic's "'a', 'b' or 'c'", and the numbers in its "0, 90 or 180"."""
    return re.findall(r"'([^']*)'", str(text)) or re.findall(r"\d+", str(text))


def _needs_type(types: Iterable[str]) -> str:
    return f"needs a type: one of {', '.join(types)}"


def _unknown(given: object, allowed: list[str]) -> str:
    return f"{str(given)[:_ECHO_LETTERS]!r} is unknown{_nearest(str(given), allowed)}"


def _nearest(given: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(given.lower(), allowed, n=1)
    listed = ", ".join(allowed)
    if near:
        return f"; did you mean {near[0]}? Allowed: {listed}"
    return f"; allowed: {listed}" if listed else ""
