"""What every test may use: the shared test data, where it is there."""

from pathlib import Path

import pytest
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
