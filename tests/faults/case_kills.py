"""SIGKILL at random points: at a moment, or at a disk call, before it or in the middle of a write.

The sink is there, away, or silent with a batch in hand, before it has passed it on or after; it changes during a life.
"""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from faults.case_flaps import Flaps, FlapScene
from faults.driven import Scene
from faults.oracle import COMMIT_SLACK_S
from faults.table import Row, World

_SPEED = 10.0
_LIVES = 10
"""Deaths of one state folder, before all of it must have been delivered."""
_TROUBLES = ("", "", "away", "away", "stuck-before", "stuck-after")
_LONGEST_LIFE_S = 0.6
_LAST_CALL = 150
"""Of a life: more disk calls than most lives have."""


def run(world: World, *, kills: int, over_mqtt: int = 0) -> Row:
    """So many kills, in scenes of ten; of the last ones the sink is MQTT over TLS, of the others a file."""
    row, scenes = Row("kills"), -(-kills // _LIVES)
    for number in range(scenes):
        draw = random.Random(f"{world.seed}/kills/{number}")  # noqa: S311 - not a secret
        lives = min(_LIVES, kills - number * _LIVES)
        with _scene(world, number, mqtt=(scenes - number) * _LIVES <= over_mqtt) as scene:
            for _ in range(lives):
                _life(scene, draw)
            scene.quiet(fresh=3)
            window_s = scene.interval_s + COMMIT_SLACK_S
            row.add(scene.verdict(window_s=window_s), scene.faults(window_s=window_s), f"scene {number}", rounds=lives)
    row.notes.append(f"the oldest that was lost in the window had {row.oldest_excused_s * 1000:.0f} ms")
    return row


@contextlib.contextmanager
def _scene(world: World, number: int, *, mqtt: bool) -> Iterator[Scene]:
    folder, job = world.subfolder(f"kills-{number}"), {"speed": _SPEED, "rate_hz": 300.0, "defect": world.defect}
    if not mqtt:
        yield Scene(folder, world.drivers, **job)
        return
    flaps = Flaps(folder / "world")
    try:
        yield FlapScene(flaps, folder / "scene", world.drivers, **job)
    finally:
        flaps.close()


def _life(scene: Scene, draw: random.Random) -> None:
    trouble, later = draw.choice(_TROUBLES), draw.choice(_TROUBLES)
    _show(scene, trouble)
    life_s = draw.uniform(0.02, _LONGEST_LIFE_S)
    process = scene.start(count=100_000, ends=False, plan=_plan(scene, draw))
    dead = process.ended_within(life_s * draw.random())
    if not dead:
        _show(scene, later)
        dead = process.ended_within(life_s)
    scene.note_end(process.end(0) if dead else process.kill())


def _plan(scene: Scene, draw: random.Random) -> dict[str, str]:
    """Half of the deaths are at a disk call."""
    more: dict[str, Any] = {}
    if draw.random() < 0.5:
        more = {"at": draw.randint(1, _LAST_CALL), "act": "kill", "halves": draw.random() < 0.5}
    return scene.plan(**more)


def _show(scene: Scene, trouble: str) -> None:
    for name in ("away", "stuck-before", "stuck-after"):
        scene.switch(name, on=name == trouble)
