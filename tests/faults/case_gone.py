"""A disk that reads and cannot forget: a thousand results wait on it, the sink takes them, their removal fails.

Then the process is killed, and the next one finds on the disk what was delivered; or the disk is well again.
"""

import errno
import itertools

from faults.case_disk import Shape
from faults.driven import Scene
from faults.table import Row, World

_SPEED = 20.0
_COUNT = 1000
_ILL_S = 1.0
"""Enough for all of them to be delivered."""
SHAPES = [
    Shape(error, "stay", halves=False, killed=killed, only=only)
    for (error, only), killed in itertools.product(((errno.ENOSPC, "write"), (errno.EIO, "sync")), (True, False))
]


def run(world: World, *, shapes: int = len(SHAPES)) -> Row:
    """The first so many shapes, once each."""
    row = Row("disk cannot forget")
    for shape in SHAPES[:shapes]:
        scene = Scene(world.subfolder(f"gone-{SHAPES.index(shape)}"), world.drivers, speed=_SPEED, defect=world.defect)
        _live(scene, shape)
        scene.quiet(fresh=2)
        hit = scene.hit.read_text().strip() if scene.hit.exists() else ""
        faults = scene.faults(order=False) + ([] if hit else ["the disk has not failed"])
        row.add(scene.verdict(), faults, shape.words)
    return row


def _live(scene: Scene, shape: Shape) -> None:
    scene.switch("away", on=True)
    first = scene.start(count=_COUNT, ends=False)
    scene.wait_saved(first)
    scene.note_end(first.kill())
    scene.switch("away", on=False)
    plan = scene.plan(at=1, act=shape.act, only=shape.only, error=shape.error, lift=scene.lift, hit=scene.hit)
    second = scene.start(count=0, ends=not shape.killed, plan=plan)
    second.ended_within(_ILL_S)
    if shape.killed:
        scene.note_end(second.kill())
    else:
        scene.switch("lift", on=True)
        scene.note_end(second.end(20))
