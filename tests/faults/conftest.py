"""What the fault suite's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import shim
from faults.driven import Drivers, drivers
from faults.table import World


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shim.MISSING:
        pytest.skip(shim.REASON)
    return shim.compiled(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def preloaded(library: Path) -> Iterator[Drivers]:
    with drivers(library) as them:
        yield them


@pytest.fixture(scope="session")
def plain() -> Iterator[Drivers]:
    with drivers(None) as them:
        yield them


@pytest.fixture
def world(preloaded: Drivers, tmp_path: Path) -> World:
    return World(tmp_path, preloaded, seed=1)
