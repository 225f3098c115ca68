"""The pages hold together: all are found from the README, links and commands lead somewhere, pictures are there."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import cli, config, imaging

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCS = sorted(path for path in (REPOSITORY / "docs").iterdir() if path.suffix in (".md", ".json"))
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md")])
PICTURES = REPOSITORY / "docs" / "pictures"
ADVICE = [REPOSITORY / "docs" / name for name in ("operations.md", "tuning.md", "hardware.md", "plugins.md")]
MOST_BYTES = 150_000
PARSER = cli._parser()


# Found


def test_the_readme_lists_every_page_of_the_documentation() -> None:
    listed = README.partition("\n## Documentation\n")[2].partition("\n## ")[0]
    assert [path.name for path in DOCS if f"(docs/{path.name})" not in listed] == []


def headings(page: Path) -> set[str]:
    """The anchors that the page has: as code hosts make them of its headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_link_to_a_part_of_a_page_leads_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    targets = [((page.parent / name) if name else page, anchor) for name, anchor in links]
    assert [(str(target), anchor) for target, anchor in targets if anchor not in headings(target)] == []


# Commands


def commands() -> Iterator[tuple[str, str, str]]:
    """Page, line, and what may be missing: each command in a shell's block, and in the text of pages with advice."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^ *```(?:sh|console)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
        lines = [(line, "nothing") for block in blocks for line in block.splitlines()]
        if page in ADVICE:
            lines += [(line, "arguments are required") for line in re.findall(r"`((?:sudo )?vedette [^`]+)`", text)]
        for line, missing in lines:
            found = re.search(r"(?:^ *|\$ |sudo |bin/|[A-Z_]+=\S+ )vedette ([a-z][^#|>&\\]*)", line)
            if found is not None:
                yield str(page.relative_to(REPOSITORY)), found[1].strip(), missing


@pytest.mark.parametrize(("page", "line", "missing"), sorted(set(commands())))
def test_a_command_that_is_shown_is_one_that_is_understood(page: str, line: str, missing: str) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        PARSER.parse_args(shlex.split(line))
    assert said.getvalue() == "" or missing in said.getvalue(), page


def keys(node: dict[str, Any], schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key below a part of the configuration's JSON Schema, with the sections that it is in."""
    if "$ref" in node:
        yield from keys(schema["$defs"][node["$ref"].rpartition("/")[2]], schema, path)
    for choice in [*node.get("anyOf", ()), *node.get("oneOf", ()), *([node["items"]] if "items" in node else [])]:
        yield from keys(choice, schema, path)
    for name, inner in node.get("properties", {}).items():
        yield (*path, name)
        yield from keys(inner, schema, (*path, name))


@pytest.mark.parametrize("page", ADVICE, ids=lambda page: page.name)
def test_a_key_that_is_named_with_its_section_is_in_the_configuration(page: Path) -> None:
    schema = config.json_schema()
    known = {".".join(path[start:]) for path in keys(schema, schema) for start in range(len(path))}
    named = set(re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", page.read_text(encoding="utf-8")))
    others = re.compile(r"(?:agent|vedette|context)\.|.*\.(?:md|py|yaml|json|jsonl|csv|db|toml)$")
    assert {name for name in named - known if not others.match(name)} == set()


# Pictures


def test_every_picture_is_small_and_shown_in_the_readme_with_words_for_those_who_do_not_see_it() -> None:
    shown = {path: words for words, path in re.findall(r"!\[([^\]]+)\]\(docs/pictures/([^)]+)\)", README)}
    there = {path.name for path in PICTURES.iterdir()}
    assert there == set(shown)
    assert {"page-desk.jpg", "page-phone.jpg", "snapshot.jpg", "explain.png", "simulate.png", "bench.png"} <= there
    assert [name for name in there if (PICTURES / name).stat().st_size > MOST_BYTES] == []
    assert [name for name, words in shown.items() if len(words.split()) < 8] == []
    assert all(min(imaging.read_image(PICTURES / name).shape[:2]) >= 150 for name in there)


def test_the_script_makes_the_very_picture_that_is_shown(tmp_path: Path) -> None:
    """One of them: the others take longer, show figures of the machine, or need a browser."""
    command = [sys.executable, REPOSITORY / "scripts" / "pictures.py", "snapshot", "--to", tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=50)
    made, shown = (imaging.read_image(folder / "snapshot.jpg").astype(int) for folder in (tmp_path, PICTURES))
    assert made.shape == shown.shape
    assert np.abs(made - shown).mean() < 4, "of 255; another build of the JPEG library differs by less"
