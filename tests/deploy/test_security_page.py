"""docs/security.md claims nothing that is not there: the tests, modules and pages that it names exist."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`((?:tests|agent|scripts)/[\w./-]+)(?:::(\w+))?(?: [^`]*)?`", PAGE)))


@pytest.mark.parametrize(("path", "test"), PLACES)
def test_what_the_page_names_is_there(path: str, test: str) -> None:
    place = REPOSITORY / path
    assert place.exists()
    if test:
        tree = ast.parse(place.read_text(encoding="utf-8"))
        assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_it_names_a_measure_for_most_of_what_it_lists() -> None:
    assert len(PLACES) > 25


def test_its_links_lead_somewhere() -> None:
    for page, text in ((REPOSITORY / "docs" / "security.md", PAGE), (REPOSITORY / "SECURITY.md", None)):
        words = text or page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)", words):
            assert (page.parent / target).exists(), target
