"""What every test may use: the shared test data, where it is there."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from canary import lookout, no_secret_shows  # noqa: F401 - they are used by every test
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # how long an example takes says nothing on a shared machine
settings.load_profile("unhurried")
_BESIDE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and media beside the checkout; tests that need it are skipped where it is absent."""
    if not (_BESIDE / "models").is_dir():
        pytest.skip(f"needs the test data folder {_BESIDE} (real YOLOv8 models and videos), which is not here")
    return _BESIDE


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a command sets up for its own log lines ends with the test that ran it."""
    loggers = logging.getLogger(), logging.getLogger("agent")
    levels, handlers = [logger.level for logger in loggers], list(loggers[0].handlers)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    kept = [each for each in loggers[0].handlers if each in handlers or type(each).__module__.startswith("_pytest")]
    loggers[0].handlers[:] = kept
