"""Class names in a file: the forms people have, and what is wrong with one that is none, by its line."""

from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.model import labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "a cat\n dog \n"),
        ("names.txt", "\ufeffa cat\r\ndog\r\n"),
        ("data.yaml", "nc: 2\nnames: [a cat, dog]\n"),
        ("data.yaml", "names:\n  0: a cat\n  1: dog\n"),
        ("data.yaml", "0: a cat\n1: dog\n"),
        ("list.json", '["a cat", "dog"]'),
        ("labels.json", '{"labels": ["a cat", "dog"]}'),
        ("coco.json", '{"categories": [{"id": 7, "name": "dog"}, {"id": 2, "name": "a cat"}]}'),
    ],
)
def test_class_names_are_read_from_the_files_people_have(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert labels.read(tmp_path / name) == ("a cat", "dog")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("names.txt", b"", "names.txt: holds no class names"),
        ("names.txt", b"a\n\nb\n", "names.txt:2: is empty; the name of class 1 belongs there"),
        ("names.txt", b"\na\nb\n", "names.txt:1: is empty; the name of class 0"),
        ("names.txt", b"\xff\xfe", "is not text"),
        ("names.txt", b"a\x1b[2J\nb\n", "names.txt:1: a\\u001b[2J has signs that cannot be printed"),
        ("names.txt", b"cat\ndog\ncat\n", "names.txt:3: cat is the name of another class already ("),
        ("names.yaml", b"names: 3\n", "holds no class names"),
        ("names.yaml", b"names: {1: a, 2: b}\n", "has 2 names, but none for 0: classes are numbered from 0 to 1"),
        ("names.yaml", b"names:\n  0: a\n  0: b\n", "names.0: stands twice"),
        ("names.yaml", b"names: [\n", "is not valid YAML"),
        (
            "names.yaml",
            b"names:\n- yes\n- a\n",
            "names.yaml:2: names[0]: is no text, but true (yes, on); put the name in",
        ),
        ("names.yaml", b"names:\n- a\n- no\n", "names.yaml:3: names[1]: is no text, but false"),
        ("names.yaml", b"names: [a, null]\n", "names[1]: is no text, but nothing (null)"),
        ("names.yaml", b"names: {0: a, 1: 1.5}\n", "names.1: is no text, but the value 1.5; put the name in quotes"),
        ("names.yaml", b"names: [a, b, a]\n", "names[2]: a is the name of another class already"),
        ("coco.json", b'{"categories": [3]}', "its categories are not COCO's"),
        ("coco.json", b'{"categories": [{"id": 1, "name": 3}]}', "categories[0].name: is no text"),
    ],
)
def test_class_names_that_are_none_are_told_by_their_place(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AgentError) as refused:
        labels.read(tmp_path / name)
    assert said in str(refused.value)


def test_quotes_make_text_of_what_yaml_takes_for_something_else(tmp_path: Path) -> None:
    (tmp_path / "names.yaml").write_text("names: ['no', 'yes', 'null', '1.5']\n")
    assert labels.read(tmp_path / "names.yaml") == ("no", "yes", "null", "1.5")
