"""`vedette model get`, with a catalogue of its own and a real server on loopback."""

import contextlib
import io
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from file_server import Answer, serving, unused_address, whole
from toy_models import NAMES, Commands, classifier, without_rehearsal

from agent import package
from agent.clock import SystemClock
from agent.errors import AgentError
from agent.flow import Task
from agent.model import download
from agent.model.download import Web
from agent.model.get import Entry, get, read
from agent.model.meter import Meter
from agent.model.session import Session
from agent.package import Input, sha256_of
from agent.shelf import Shelf


@pytest.fixture(autouse=True)
def around(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without_rehearsal(monkeypatch)
    monkeypatch.setattr(download, "_PAUSES_S", (0.001,) * 6)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


@dataclass(frozen=True, slots=True)
class Shop:
    """A model, what the catalogue says of it, and whoever fetches it."""

    data: bytes
    entry: Entry
    session: Session
    said: list[str]

    def fetch(self, url: str, *, accepted: str | None = "AGPL-3.0", **other: object) -> str:
        """Get the model from `url`; `other`: what the catalogue says otherwise."""
        entry = replace(self.entry, url=f"{url}/toy.onnx", **other)  # type: ignore[arg-type] # fields of Entry
        with contextlib.closing(Web(self.session.clock)) as web:
            return get(web, entry, accepted, self.session)

    @property
    def installed(self) -> list[str]:
        return self.session.shelf.names()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    file = classifier(tmp_path / "toy.onnx", padding_bytes=1000)
    clock, said = SystemClock(), list[str]()
    entry = Entry(
        name="toy",
        description="three colours",
        task="classification",
        url="",
        sha256=sha256_of(file),
        width=16,
        height=16,
        licence="AGPL-3.0",
        size_bytes=file.stat().st_size,
    )
    session = Session(said.append, tmp_path / "state", tmp_path, clock, Meter(io.StringIO(), clock))
    return Shop(file.read_bytes(), entry, session, said)


def test_a_model_of_the_catalogue_is_fetched_checked_and_installed(shop: Shop, tmp_path: Path) -> None:
    with serving(whole(shop.data)) as server:
        told = shop.fetch(server.url)
    assert "  licence: AGPL-3.0, as you have accepted\n" in told
    assert "toy@1 is installed in " in told
    found = package.find("toy", base_dir=tmp_path, shelf=tmp_path / "state" / "models")
    assert (found.labels, found.task, found.input) == (NAMES, Task.CLASSIFICATION, Input(16, 16))
    about = package.about(found.file.parent)
    assert (about.licence, about.source) == ("AGPL-3.0", f"{server.url}/toy.onnx")
    assert list(package.problems(found.file.parent)) == []


@pytest.mark.parametrize(("accepted", "also"), [(None, ""), ("MIT", "You accept MIT, which is another one. ")])
def test_nothing_is_fetched_before_its_licence_is_accepted(accepted: str | None, also: str, shop: Shop) -> None:
    with serving(whole(shop.data)) as server, pytest.raises(AgentError) as caught:
        shop.fetch(server.url, accepted=accepted)
    said = str(caught.value)
    assert said.startswith("toy comes from 127.0.0.1 under the licence AGPL-3.0, ")
    assert also in said
    assert said.endswith("vedette model get toy --accept-licence AGPL-3.0")
    assert server.asked == []


def test_what_is_installed_is_not_fetched_again_and_needs_no_licence(shop: Shop) -> None:
    with serving(whole(shop.data)) as server:
        shop.fetch(server.url)
        assert shop.fetch(server.url, accepted=None) == "It is installed already, and the same file: toy@1"
    assert len(server.asked) == 1


def test_a_newer_file_of_the_catalogue_is_another_version(shop: Shop, tmp_path: Path) -> None:
    newer = classifier(tmp_path / "newer.onnx", mark="newer")
    with serving(whole(shop.data)) as server:
        shop.fetch(server.url)
    with serving(whole(newer.read_bytes())) as server:
        told = shop.fetch(server.url, sha256=sha256_of(newer), size_bytes=None)
    assert "toy@2 is installed in " in told
    assert "beside toy@1, which stays in use" in told


def test_another_file_than_the_catalogue_s_is_thrown_away(shop: Shop) -> None:
    other = bytes(len(shop.data))
    with (
        serving(whole(other)) as server,
        pytest.raises(AgentError, match=r"toy\.onnx: another file came, and was thro"),
    ):
        shop.fetch(server.url)
    assert shop.installed == []


def test_a_download_that_was_cut_off_goes_on_where_it_ended(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSES_S", ())
    monkeypatch.setattr(download, "_AT_ONCE_S", 0.0)
    busy: Callable[..., Answer] = lambda _: Answer(b"", 503)  # noqa: E731 - a script's entry
    with serving(whole(shop.data, cut_at=700), busy, whole(shop.data)) as server:
        with pytest.raises(AgentError, match="what has come is kept: try again"):
            shop.fetch(server.url)
        shop.fetch(server.url)
    assert server.asked[-1].begins > 0


def test_offline_is_one_clear_sentence(shop: Shop) -> None:
    with pytest.raises(AgentError) as caught:
        shop.fetch(unused_address())
    assert str(caught.value).startswith("toy.onnx: 127.0.0.1 cannot be reached, or hung up (")
    assert str(caught.value).endswith("is this device online?")


def test_a_file_that_is_right_and_does_not_run_is_kept_for_another_try(shop: Shop) -> None:
    with serving(whole(shop.data)) as server:
        with pytest.raises(AgentError, match=r"takes pictures of 16x16, but model\.yaml says 32x32"):
            shop.fetch(server.url, width=32, height=32)
        assert shop.installed == []
        shop.fetch(server.url)
    assert len(server.asked) == 1


# The catalogue


def test_every_model_of_the_catalogue_is_pinned_and_comes_from_whoever_made_it() -> None:
    catalogue = read()
    assert "yolov8n" in catalogue
    for name, entry in catalogue.items():
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256), name
        assert entry.url.startswith("https://github.com/ultralytics/assets/releases/download/v"), name
        assert entry.file == f"{name}.onnx"
        assert Task(entry.task)
        assert entry.licence == "AGPL-3.0"
    assert len({entry.sha256 for entry in catalogue.values()}) == len(catalogue)


def test_without_a_name_the_catalogue_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Commands(tmp_path / "state", capsys)("get")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()[1 : 1 + len(read())]] == list(read())
    assert said.out.endswith("To install one: vedette model get NAME --accept-licence LICENCE\n")


def test_a_name_that_is_nearly_right_is_told_the_right_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Commands(tmp_path / "state", capsys)("get", "yolov8nn")
    assert said.code == 1
    assert "yolov8nn: there is no such model here; did you mean yolov8n? There are: yolov8n, " in said.err
    assert Shelf(tmp_path / "state" / "models").names() == []
