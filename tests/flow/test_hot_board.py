"""A board without a fan on a hot afternoon and in a cool night: the whole loop of heat, care and work."""

from itertools import pairwise
from pathlib import Path

from board import FPS, RUN_S, SLOWS_C, Log, Trial

from agent.care.governor import RAISE_S
from agent.care.relief import Policy
from agent.care_options import CareConfig

AFTERNOON_S, NIGHT_S = 300, 330


def lived(folder: Path, policy: Policy, seconds: int, *, cloud: bool = False) -> Log:
    options = CareConfig(policy=policy, hot_c=77)
    trial = Trial(folder, options, lambda s: 45.0 if s < AFTERNOON_S else 15.0, cloud=cloud)
    return trial.run(seconds)


def rate(counts: list[int], begin_s: int, end_s: int) -> float:
    return (counts[end_s] - counts[begin_s]) / (end_s - begin_s)


def test_without_care_the_board_gets_so_hot_that_it_slows_itself_down(tmp_path: Path) -> None:
    log = lived(tmp_path, Policy.NONE, AFTERNOON_S)
    assert max(log.celsius) > SLOWS_C + 1
    assert max(log.run_s) > 1.15 * RUN_S
    assert log.limits == []


def test_with_fewer_frames_it_never_does_and_in_the_night_all_of_them_are_back(tmp_path: Path) -> None:
    log = lived(tmp_path, Policy.LOWER_FPS, AFTERNOON_S + NIGHT_S)
    assert max(log.celsius) < SLOWS_C - 1
    assert max(log.run_s) == RUN_S
    assert 1.5 < rate(log.answered, 200, AFTERNOON_S) < 3.5
    assert log.limits[-1][1] is None
    assert rate(log.answered, AFTERNOON_S + NIGHT_S - 60, AFTERNOON_S + NIGHT_S - 1) > 0.97 * FPS
    steps = [at_s for at_s, _ in log.limits]
    assert all(later - earlier >= RAISE_S for earlier, later in pairwise(steps[1:]))


def test_shifted_to_the_cloud_it_keeps_its_frames_and_stays_cool(tmp_path: Path) -> None:
    log = lived(tmp_path, Policy.SHIFT_TO_CLOUD, 220, cloud=True)
    assert max(log.celsius) < SLOWS_C - 1
    assert rate(log.answered, 100, 219) > 0.97 * FPS
    before, hot = rate(log.runs, 10, 60), rate(log.runs, 100, 219)
    assert before > 0.97 * FPS, "a cloud that answers three of four pictures is worth a local run for each"
    assert hot < 0.5 * before
