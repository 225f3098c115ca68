"""Steps of the wall clock while the agent runs: ten years back, ten years forth, 25 seconds, and back to right.

Monotonic clocks are left alone, as the kernel does it. The sink is away in turns, so that results lie on disk over a
step; the age limit is a week, which ten years are not to set off. Between processes the clock is stepped too, and the
boot is another; it is then not known to be right, as after a start without a network. Where it is right in both boots,
what has lain on disk for an hour less than the age limit is delivered, and what has for an hour more is dropped.
"""

import random
from dataclasses import replace

from faults.driven import Scene
from faults.oracle import COMMIT_SLACK_S, Ledger
from faults.table import Row, World

YEARS_10_S = 3652 * 86400
STEPS_S = (-YEARS_10_S, YEARS_10_S, 25, 0)
_EACH_S = 0.25
_AGE_S, _AGED = 7 * 86400, 60


def run(world: World, *, rounds: int) -> Row:
    """So many times through all steps, in two boots each."""
    row = Row("clock steps")
    for number in range(rounds):
        draw = random.Random(f"{world.seed}/clock/{number}")  # noqa: S311 - not a secret
        _scene(world, row, number, draw)
        for drops in (False, True):
            _age(world, row, number, drops=drops)
    return row


def _age(world: World, row: Row, number: int, *, drops: bool) -> None:
    """Two boots whose clocks are right, nearly or more than the age limit apart; the second commits, then delivers."""
    name = f"aged-{number}-{'above' if drops else 'below'}"
    scene = Scene(world.subfolder(name), world.drivers, speed=10.0, rate_hz=200.0, defect=world.defect)
    plan = scene.plan(wall=scene.folder / "wall")
    for boot, step_s in (("first", 0), ("second", _AGE_S + (3600 if drops else -3600))):
        _step(scene, step_s, away=True)
        process = scene.start(count=_AGED, ends=False, boot=boot, plan=plan)
        scene.wait_saved(process)
        scene.note_end(process.kill())
    scene.quiet(fresh=3, boot="second", plan=plan)
    verdict, faults = scene.verdict(), scene.faults()
    if drops:
        faults = [fault for fault in faults if " lost" not in fault]
        owed = [each.id for each in Ledger.read(scene.folder / "ledger").obligations if each.run == 0]
        faults += [] if sorted(verdict.lost) == sorted(owed) else [f"{len(verdict.lost)} dropped, not {len(owed)}"]
        verdict = replace(verdict, lost=[])
    row.add(verdict, faults, name, rounds=2)


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
