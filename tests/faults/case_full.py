"""An outbox that is full, by each policy: what was accepted came, was refused, or is counted as dropped.

A process fills it while the sink is away and is killed once all that waits is on disk; the next one adds to it and is
killed while it delivers; the third one ends. The sink refuses some for good and keeps others for later. Where too
little space is free for anything, results wait in memory, and the process itself delivers them.
"""

import random
from dataclasses import replace

from faults.driven import Scene
from faults.oracle import Ledger
from faults.table import Row, World

POLICIES = ("drop_oldest", "drop_newest", "thin")
_SPEED = 20.0
_MAX_BYTES = 80_000.0
_FILL, _MORE = 2500, 400


def run(world: World) -> Row:
    """Each policy once, and the floor of free space once."""
    row = Row("full, refused, kept")
    for policy in POLICIES:
        draw = random.Random(f"{world.seed}/full/{policy}")  # noqa: S311 - not a secret
        scene = _scene(world, policy, when_full=policy, max_bytes=_MAX_BYTES)
        _fill(scene, draw)
        _judge(row, scene, policy, drops=True)
    scene = _scene(world, "floor", keep_free_bytes=1e18)
    scene.switch("away", on=True)
    process = scene.start(count=_MORE)
    process.ended_within(0.4)
    scene.switch("away", on=False)
    scene.note_end(process.end(20))
    scene.quiet(fresh=2)
    _judge(row, scene, "too little space is free", drops=False)
    return row


def _scene(world: World, name: str, **limits: object) -> Scene:
    scene = Scene(world.subfolder(f"full-{name}"), world.drivers, speed=_SPEED, defect=world.defect, **limits)
    scene.switch("picky", on=True)
    return scene


def _fill(scene: Scene, draw: random.Random) -> None:
    scene.switch("away", on=True)
    first = scene.start(count=_FILL, ends=False)
    scene.wait_saved(first)
    scene.note_end(first.kill())
    second = scene.start(count=_MORE, ends=False)
    scene.wait_saved(second)
    scene.switch("away", on=False)
    second.ended_within(draw.uniform(0.02, 0.15))
    scene.note_end(second.kill())
    scene.quiet(fresh=3)


def _judge(row: Row, scene: Scene, name: str, *, drops: bool) -> None:
    """To the last one: all deaths were when production was over and its outcome on disk."""
    verdict, ledger = scene.verdict(), Ledger.read(scene.folder / "ledger")
    faults = [fault for fault in scene.faults(order=False) if " lost" not in fault and "no fresh" not in fault]
    dropped = sum(ledger.dropped.values())
    gone = set(verdict.lost) - ledger.refused
    if len(gone) != dropped:
        faults.append(f"{len(gone)} have not come, {dropped} are counted as dropped")
    if drops != bool(dropped) or not ledger.refused:
        faults.append(f"{dropped} dropped, {len(ledger.refused)} refused: not what is to be tested")
    both = ledger.refused - set(verdict.lost)
    faults += [f"{len(both)} were refused and came"] if both else []
    row.add(replace(verdict, lost=[]), faults, name)
    row.notes.append(f"{name}: {dropped} dropped, {len(ledger.refused)} refused")
