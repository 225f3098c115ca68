"""YAML with lines: what is read, and what is said of what cannot be."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import document
from agent.errors import ConfigError


def parse(text: str) -> document.Document:
    return document.parse(text, name="f.yaml")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_every_key_and_item_has_its_line() -> None:
    page = parse("a: 1\nb:\n  - c: 2\n    d: {e: 3}\n  -\n    f: 4\n")
    assert page.data == {"a": 1, "b": [{"c": 2, "d": {"e": 3}}, {"f": 4}]}
    assert page.place(("b", 0, "d", "e")) == "f.yaml:4: b[0].d.e"
    assert page.place(("b", 1, "f")) == "f.yaml:6: b[1].f"


def test_a_key_that_is_not_there_has_the_line_of_the_nearest_part_that_is() -> None:
    page = parse("a:\n  b:\n    c: 1\n")
    assert page.place(("a", "b", "x", "y")) == "f.yaml:2: a.b.x.y"
    assert page.place(()) == "f.yaml:1"


def test_a_key_that_stands_twice_is_named_with_both_lines() -> None:
    page = parse("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert page.duplicates == ("f.yaml:4: a.b: stands twice, the first time in line 2; keep one",)


def test_the_same_key_in_two_sections_is_no_duplicate() -> None:
    assert parse("a: {x: 1}\nb: {x: 1}\n").duplicates == ()


def test_anchors_and_aliases_work() -> None:
    page = parse("a: &here {x: 1}\nb: *here\n")
    assert page.data == {"a": {"x": 1}, "b": {"x": 1}}


def test_a_merge_key_fills_a_section_and_what_it_overrides_is_no_duplicate() -> None:
    page = parse("base: &base {x: 1, y: 1}\nb:\n  <<: *base\n  y: 2\n")
    assert page.data["b"] == {"x": 1, "y": 2}
    assert page.duplicates == ()
    assert page.line(("b", "y")) == 4
    assert page.line(("b", "x")) == 1


def test_keys_are_text_whatever_they_look_like() -> None:
    assert parse("1: a\non: b\nnull: c\n2024-01-01: d\n").data == {"1": "a", "on": "b", "null": "c", "2024-01-01": "d"}


def test_a_date_stays_text() -> None:
    assert parse("a: 2024-01-31\nb: 2024-13-45\n").data == {"a": "2024-01-31", "b": "2024-13-45"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeff"])
def test_an_empty_file_holds_nothing(text: str) -> None:
    assert parse(text).data is None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1,\n", 3, "expected the node content"),
        ("a: 1\n\tb: 2\n", 2, "'\\t'"),
        ("a: 1\nb: 'open\n", 3, "quoted scalar"),
        ("a: b: c\n", 1, "mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document"),
        ("a: 1\n<<: 3\n", 2, "expected a mapping"),
        ("a: 1\nb: !!int x\n", 2, "put it in quotes"),
        ("? [a, b]\n: 1\n", 1, "a key that is not one word"),
        ("a: &a\n  b: *a\n", 1, "contains itself"),
    ],
)
def test_broken_yaml_is_named_with_its_line(text: str, line: int, words: str) -> None:
    said = refusal(text)
    assert said.startswith(f"f.yaml:{line}: is not valid YAML: ")
    assert words in said


@pytest.mark.parametrize("mark", ["*", "!", "&"])
def test_a_password_that_begins_like_yaml_syntax_is_not_repeated(mark: str) -> None:
    said = refusal(f"a: {mark}hunter2 x\nb: {mark}hunter2 x\n")
    assert "hunter2" not in said
    assert f"put a value that begins with {mark} in quotes" in said


def test_tags_that_would_build_objects_are_refused() -> None:
    for tag in ("!!python/object:os.system", "!!binary", "!!set", "!!omap"):
        assert "in quotes" in refusal(f"a: {tag} {{}}\n")


def test_anchors_that_multiply_each_other_are_refused_before_they_fill_the_memory() -> None:
    levels = "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert "do anchors repeat each other?" in refusal("a: &a [1, 1]\n" + levels)


@pytest.mark.parametrize("text", ["[" * 3000, "- " * 3000 + "a", "{a: " * 3000])
def test_a_file_of_brackets_is_nested_too_deeply(text: str) -> None:
    assert "nested too deeply" in refusal(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file"):
        document.read(tmp_path / "absent.yaml")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}: cannot be read: Is a directory"):
        document.read(tmp_path)


def test_a_binary_file_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        document.read(path)


def test_text_with_control_characters_is_not_text() -> None:
    assert refusal("a: b\x00c") == "f.yaml: is not text (character 5); is it really a YAML file?"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="ab1:-?[]{}&*!|>'\"%@`#,.<~=\\ \n\t\x00\u00e9\ufeff", max_size=60))
def test_any_text_is_a_document_or_a_config_error(text: str) -> None:
    try:
        page = parse(text)
    except ConfigError:
        return
    for path, line in page.lines.items():
        assert 1 <= line <= text.count("\n") + 1
        assert page.place(path)
