"""Steps of the wall clock while the agent runs: ten years back, ten years forth, 25 seconds, and back to right.

Monotonic clocks are left alone, as the kernel does it. The sink is away in turns, so that results lie on disk over a
step; the age limit is a week, which ten years are not to set off. Between processes the clock is stepped too, and the
boot is another; it is then not known to be right, as after a start without a network.
"""

import random

from faults.driven import Scene
from faults.oracle import COMMIT_SLACK_S
from faults.table import Row, World

YEARS_10_S = 3652 * 86400
STEPS_S = (-YEARS_10_S, YEARS_10_S, 25, 0)
_EACH_S = 0.25


def run(world: World, *, rounds: int) -> Row:
    """So many times through all steps, in two boots each."""
    row = Row("clock steps")
    for number in range(rounds):
        draw = random.Random(f"{world.seed}/clock/{number}")  # noqa: S311 - not a secret
        _scene(world, row, number, draw)
    return row


def _scene(world: World, row: Row, number: int, draw: random.Random) -> None:
    scene = Scene(world.subfolder(f"clock-{number}"), world.drivers, speed=10.0, rate_hz=200.0, defect=world.defect)
    wall = scene.folder / "wall"
    for boot in ("first", "second"):
        steps = list(STEPS_S)
        draw.shuffle(steps)
        _step(scene, steps[-1], away=True)
        process = scene.start(
            count=100_000, ends=False, boot=boot, synchronized=boot == "first", plan=scene.plan(wall=wall)
        )
        for step_s in steps:
            _step(scene, step_s, away=draw.random() < 0.6)
            if process.ended_within(_EACH_S):
                break
        scene.note_end(process.kill() if not process.ended_within(0) else process.end(0))
    _step(scene, draw.choice(STEPS_S), away=False)
    scene.quiet(fresh=3, boot="third", synchronized=False, plan=scene.plan(wall=wall))
    window_s = scene.interval_s + COMMIT_SLACK_S
    row.add(scene.verdict(window_s=window_s), scene.faults(window_s=window_s), f"round {number}", rounds=8)


def _step(scene: Scene, step_s: int, *, away: bool) -> None:
    beside = scene.folder / "wall.new"
    beside.write_text(str(step_s))
    beside.rename(scene.folder / "wall")
    scene.switch("away", on=away)
