"""Modules and functions stay small enough to be read at one sitting."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = sorted([*REPOSITORY.glob("agent/**/*.py"), *REPOSITORY.glob("scripts/*.py")])
MODULE_LINES, FUNCTION_LINES = 400, 30


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_module_and_each_function_in_it_is_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MODULE_LINES
    long = {name: length for name, length in functions(ast.parse(text)) if length > FUNCTION_LINES}
    assert long == {}


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Each function's name and the lines of its body, without signature and docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
