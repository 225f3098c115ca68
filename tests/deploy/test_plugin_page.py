"""The plugin of docs/plugins.md, taken from the page and installed as a package of its own, in a real agent."""

import json
import re
import sqlite3
from pathlib import Path

import pytest
from real.agent_process import REPOSITORY, vedette

from agent import errors, imaging, plugins
from agent.sources._scene import Scene

PAGE = (REPOSITORY / "docs" / "plugins.md").read_text(encoding="utf-8")
FRAMES = 12
AGENT = """
agent: yard
cameras: [{{name: gate, source: {{type: image_folder, path: pictures}}}}]
engines: {{local: {{type: tflite, model: shapes, threads: 1}}}}
{sinks}
"""


def prepare(folder: Path) -> None:
    """A configuration with the page's sinks, and pictures for its camera."""
    (folder / "vedette.yaml").write_text(AGENT.format(sinks=block("yml")))
    (folder / "pictures").mkdir()
    scene = Scene(160, 120, seed=0, shapes=3)
    for number in range(FRAMES):
        picture = imaging.encode(scene.render(number), 160, 85)
        (folder / "pictures" / f"{number:03}.jpg").write_bytes(picture.data)


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return str(text)


def install(folder: Path) -> str:
    """What pip makes of the page's two files; the folder of packages to be put on Python's path."""
    facts = dict(re.findall(r'^(name|version) = "(.*)"$', block("toml"), re.MULTILINE))
    group, points = re.findall(r'\[project\.entry-points\."(.*?)"\]\n(.*)', block("toml"), re.DOTALL)[0]
    packages = folder / "packages"
    info = packages / f"{facts['name'].replace('-', '_')}-{facts['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {facts['name']}\nVersion: {facts['version']}\n")
    bare = points.replace('"', "")
    (info / "entry_points.txt").write_text(f"[{group}]\n{bare}")
    (packages / "vedette_sqlite.py").write_text(block("python"))
    return f"{REPOSITORY}:{packages}"


def ids(database: Path) -> list[str]:
    rows = sqlite3.connect(database).execute("SELECT id, camera, body FROM results ORDER BY rowid").fetchall()
    assert all(json.loads(body)["id"] == name and camera == "gate" for name, camera, body in rows)
    return [name for name, _, _ in rows]


def test_the_sink_of_the_page_is_checked_run_and_loses_nothing_while_its_database_is_away(tmp_path: Path) -> None:
    prepare(tmp_path)
    path = install(tmp_path)
    database = tmp_path / "results.db"
    database.mkdir()
    checked = vedette("check", "vedette.yaml", "--probe", folder=tmp_path, PYTHONPATH=path)
    assert checked.returncode == 1
    assert re.search(r"^FAIL  sink 1: .*results\.db.*; may it be written\?$", checked.stdout, re.MULTILINE)
    away = vedette("run", "vedette.yaml", folder=tmp_path, PYTHONPATH=path)
    assert away.returncode == 0, away.stderr
    assert f"undelivered results are kept, and sent at the next start count={FRAMES}" in away.stderr
    database.rmdir()
    back = vedette("run", "vedette.yaml", folder=tmp_path, PYTHONPATH=path)
    assert "sink sqlite-1 takes results" in back.stderr
    found = ids(database)
    assert len(found) == len(set(found)) == 2 * FRAMES
    assert [int(name.split("/")[3]) for name in found] == sorted(int(name.split("/")[3]) for name in found)


def test_without_the_package_the_page_s_message_is_what_is_said(tmp_path: Path) -> None:
    prepare(tmp_path)
    path = install(tmp_path)
    (tmp_path / "packages" / "vedette_sqlite.py").unlink()
    said = vedette("check", "vedette.yaml", folder=tmp_path, PYTHONPATH=path)
    assert said.returncode == 78
    shown = re.search(r"^vedette\.yaml:\d+: (.*)$", PAGE, re.MULTILINE)
    assert shown is not None
    assert said.stderr.partition(": ")[2].strip() == shown[1]


@pytest.mark.parametrize("language", ["python", "toml", "yml"])
def test_the_page_has_one_of_each(language: str) -> None:
    assert block(language)


def test_the_sink_has_forty_lines() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 40


def test_the_pages_tables_name_errors_and_entry_points_that_there_are() -> None:
    named = set(re.findall(r"`((?:Source|Sink|Engine|Config|Frame)[A-Za-z]+)`", PAGE))
    assert {name for name in named if not hasattr(errors, name)} == set()
    assert all(f"`vedette.{kind}`" in PAGE for kind in plugins._FOLDERS)
