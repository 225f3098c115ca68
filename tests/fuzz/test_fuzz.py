"""A part of the fuzz suite (scripts/fuzz runs it in full), and the whole way of a file that crashes the runtime."""

import os
import sys
from pathlib import Path

import pytest
from fakes import a_context
from fuzz.suite import Tally, feed
from fuzz.targets import ANSWERS, HEADERS, METADATA, Target, onnx_models, tflite_models

from agent.clock import SystemClock
from agent.engines import _child, tflite
from agent.errors import EngineBroken

CASES = 150


@pytest.mark.parametrize(
    "target", [tflite_models([]), onnx_models([]), METADATA, HEADERS, ANSWERS], ids=lambda target: target.name
)
def test_damaged_input_ends_in_an_error_in_words_or_in_an_answer(target: Target) -> None:
    tally = feed(target, range(CASES), seed=20_000)
    assert tally.faults == []
    assert sum(tally.ends.values()) == CASES
    assert len(tally.ends) > 1, "the damage is neither always fatal nor never"


def test_the_suite_sees_what_raises_dies_or_eats_memory() -> None:
    def misbehaves(draw: object) -> str:
        kind = str(draw.random())[-1]  # type: ignore[attr-defined]
        if kind < "3":
            raise KeyError("x")
        if kind < "6":
            os.abort()
        return str(len(bytearray(3_000_000_000))) if kind < "8" else "answered"

    tally: Tally = feed(Target("answers", misbehaves), range(40), seed=1)
    text = " ".join(tally.faults)
    assert "KeyError" in text
    assert "signal 6" in text
    assert "out of memory" in text
    assert sum(tally.ends.values()) == 40


@pytest.mark.parametrize(
    ("body", "said", "longest_s"),
    [
        ("import os; os.abort()", "crashed the runtime (Aborted)", 30),
        ("import ctypes; ctypes.string_at(0)", "crashed the runtime (Segmentation fault)", 30),
        (
            "import os; os.kill(os.getpid(), 9)",
            "crashed the runtime (Killed); likely because the device ran out of memory",
            30,
        ),
        ("import sys; sys.exit(3)", "ended the process that tried it (code 3)", 30),
        ("bytearray(3_000_000_000)", "needs more than 300 MB of memory", 30),
        ("import time; time.sleep(60)", "did not end within 1 s, and was given up", 1),
    ],
    ids=["abort", "segfault", "killed", "exit", "memory", "hang"],
)
def test_what_the_trial_process_dies_of_is_an_error_in_words(
    body: str, said: str, longest_s: float, *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(f"def main(task):\n    {body}\n", encoding="utf-8")
    context = a_context(tmp_path, SystemClock())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    with pytest.raises(EngineBroken) as caught:
        _child.run("deadly", {}, doing="dying", limits=_child.Limits(longest_s, 300_000_000), context=context)
    assert said in str(caught.value)


def test_a_model_that_is_no_good_is_refused_by_name_and_tried_again_at_the_next_start(tmp_path: Path) -> None:
    model = tmp_path / "cut.tflite"
    whole = (Path(tflite.__file__).parents[2] / "models" / "shapes" / "shapes_320_float32.tflite").read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        engine = tflite.build(tflite.Options(type="tflite", model=str(model)), a_context(tmp_path))
        with pytest.raises(EngineBroken, match=r"cut\.tflite: cannot be loaded"):
            engine.open()
    assert not (tmp_path / "threads.json").exists()
