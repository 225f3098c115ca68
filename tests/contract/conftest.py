"""Sources as the agent builds them, and network cameras for them to read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from canary import secret
from mjpeg_server import MjpegServer

from agent import logs, plugins
from agent.clock import SystemClock
from agent.ports import Context, Source

PASSWORD = secret("2/p@ss:%'\"")
"""The cameras of these tests know it."""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("test", SystemClock(), tmp_path, tmp_path)


@pytest.fixture
def make(context: Context) -> Iterator[Callable[..., Source]]:
    made: list[Source] = []

    def build(type_: str, **options: Any) -> Source:
        model = next(o for o in plugins.options_of("sources") if o.__module__.endswith(f".{type_}"))
        made.append(plugins.build_source(model.model_validate({"type": type_, **options}), context))
        return made[-1]

    yield build
    for source in made:
        source.close()


@pytest.fixture
def camera() -> Iterator[MjpegServer]:
    server = MjpegServer().start()
    yield server
    server.stop()


@pytest.fixture
def guarded() -> Iterator[MjpegServer]:
    server = MjpegServer(user="viewer", password=PASSWORD).start()
    yield server
    server.stop()


@pytest.fixture
def password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A reference to the camera's password."""
    monkeypatch.setattr(logs, "_HIDDEN", set())
    (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    return {"file": "password"}
