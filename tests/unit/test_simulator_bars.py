"""scripts/bars: what cannot be measured is no pass, and what is wrong with its options is said in a sentence."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bars.py"


@pytest.fixture(scope="module")
def bars() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bars", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bars"] = module
    spec.loader.exec_module(module)
    return module


def test_a_measure_that_is_no_number_fails_and_one_of_nothing_is_no_verdict(bars: ModuleType) -> None:
    for least in (True, False):
        bar = bars.Bar("x", lambda _: math.nan, (0.5, 0.5, 0.5), least=least)
        assert bars.verdict(bar, math.nan, 0.5)[1].endswith("FAILED")
        assert bars.verdict(bar, 0.5, 0.5)[1].endswith("ok")
        assert bars.verdict(bar, None, 0.5) == ("-", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recorded", "absent"], "--recorded absent lacks tmo-lte.npz, vzw-lte.npz"),
        (["--jobs", "0"], "'0'; allowed: a whole number, 1 to 64"),
    ],
)
def test_a_wrong_option_is_a_sentence(arguments: list[str], said: str) -> None:
    ended = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
