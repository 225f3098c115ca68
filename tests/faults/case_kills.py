"""SIGKILL at random points: at a moment, or at a disk call, before it or in the middle of a write.

The sink is there, away, or silent with a batch in hand, before it has passed it on or after; it changes during a life.
"""

import contextlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faults.case_flaps import Flaps, FlapScene
from faults.driven import Scene
from faults.oracle import COMMIT_SLACK_S, Ledger, judge
from faults.table import Row, World

_SPEED = 10.0
_LIVES = 10
"""Deaths of one state folder, before all of it must have been delivered."""
_TROUBLES = ("", "", "away", "away", "stuck-before", "stuck-after")
_LONGEST_LIFE_S = 0.6
_AT_ONCE = 6
"""Lives at real speed, side by side; they wait most of the time."""
_LAST_CALL = 150
"""Of a life: more disk calls than most lives have."""


def run(world: World, *, kills: int, real: int = 6, over_mqtt: int = 0) -> Row:
    """So many kills, in scenes of ten; of the last ones the sink is MQTT over TLS, of the others a file.

    `real` is how many lives more there are at real speed.
    """
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
    if real:
        _real_speed(world, row, real)
    row.notes.append(f"the oldest that was lost in the window had {row.oldest_excused_s * 1000:.0f} ms")
    return row


def _real_speed(world: World, row: Row, lives: int) -> None:
    """Lives in which the commit interval is a second, and what a death costs is measured: see Ledger.window_s."""
    lock, windows_s = threading.Lock(), list[float]()

    def one(number: int) -> None:
        draw = random.Random(f"{world.seed}/kills at real speed/{number}")  # noqa: S311 - not a secret
        scene = Scene(world.subfolder(f"kills-real-{number}"), world.drivers, rate_hz=100.0, defect=world.defect)
        scene.switch("away", on=True)
        more = {"at": draw.randint(8, 45), "act": "kill", "halves": draw.random() < 0.5} if number % 2 else {}
        plan = scene.plan(**more)
        process = scene.start(count=100_000, ends=False, plan=plan)
        dead = process.ended_within(draw.uniform(1.5, 4.0))
        scene.note_end(process.end(0) if dead else process.kill())
        scene.quiet(fresh=3)
        ledger = Ledger.read(scene.folder / "ledger")
        window_s = ledger.window_s(scene.interval_s)
        deaths = [ledger.last_signs.get(0, 0.0), None]
        verdict = judge(ledger, scene.receipts(), deaths=deaths, window_s=window_s, ended_well={1})
        with lock:
            windows_s.append(window_s)
            row.add(verdict, verdict.faults(), f"real speed {number}")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, range(lives)))
    row.notes.append(f"at real speed at most {max(windows_s) * 1000:.0f} ms were allowed")


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
