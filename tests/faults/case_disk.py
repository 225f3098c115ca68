"""ENOSPC, EIO and EROFS at the Nth call that changes the disk, for every N, until a run meets no fault any more.

A run has a fault at one call, or at one and all after it until the disk is well again, and a write may be done by half
before. The sink is away first, so that results are committed, then it takes them, so that they are removed. At the end
the process delivers all of it itself; or it is killed once the disk is well, and the next process has to.

What cannot be read from the disk waits, and newer results do not wait for it: here order is counted, and not demanded.
"""

import errno
import itertools
import random
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from faults.driven import Running, Scene
from faults.oracle import Verdict
from faults.table import Row, World

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
_SPEED = 20.0
_COUNT, _RATE_HZ = 40, 250.0
_AWAY_S, _ILL_S = 0.09, 0.25
"""The sink comes back while results still come; the disk is well again when they are all there."""
_MISSES = 3
"""A run that makes fewer calls than others, for it was slow, is not the end."""
_USUAL_CALLS = 60
_AT_ONCE = 12
"""Scenes side by side; they wait most of the time."""


@dataclass(frozen=True)
class Shape:
    """How the disk fails, and how the run ends."""

    error: int
    act: str
    halves: bool
    killed: bool
    only: str = ""

    @property
    def words(self) -> str:
        how = f"{self.only} {self.act}{' after half a write' if self.halves else ''}".strip()
        return f"{errno.errorcode[self.error]} {how}, {'killed' if self.killed else 'alive'}"


SHAPES = [
    Shape(error, act, halves, killed)
    for error, act, halves, killed in itertools.product(ERRORS, ("once", "stay"), (False, True), (False, True))
]

SYNCS = [
    Shape(errno.EIO, act, halves=False, killed=killed, only="sync")
    for act, killed in itertools.product(("once", "stay"), (False, True))
]
"""A sync that fails leaves it open what is on the medium: the hardest of them, and few."""


def run(world: World, *, share: float = 1.0) -> Row:
    """All shapes over every N; or over a drawn share of all N, and every N that is a sync."""
    row, lock, overtaken = Row("disk fails at Nth call"), threading.Lock(), [0]

    def one_shape(job: tuple[Shape, float]) -> int:
        shape, share = job
        draw = random.Random(f"{world.seed}/{shape.words}")  # noqa: S311 - not a secret
        last = missed = 0
        for at in _places(draw, share):
            hit, verdict, faults = one(world, shape, at)
            with lock:
                row.add(verdict, faults, f"{shape.words}, call {at}")
                overtaken[0] += len(verdict.disordered)
            last, missed = (at, 0) if hit else (last, missed + 1)
            if missed == (_MISSES if share == 1 and not shape.only else 1):
                break
        return last

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [(shape, 1.0) for shape in SYNCS if share < 1] + [(shape, share) for shape in SHAPES]
        last = list(pool.map(one_shape, jobs))[-len(SHAPES) :]
    row.notes.append(f"the last call was the {max(last)}th; {overtaken[0]} results were overtaken")
    return row


def _places(draw: random.Random, share: float) -> Iterable[int]:
    """1, 2, 3 and so on; or a drawn share of the calls that a run usually has."""
    if share == 1:
        return itertools.count(1)
    return sorted(draw.sample(range(1, _USUAL_CALLS + 1), max(1, round(share * _USUAL_CALLS))))


def one(world: World, shape: Shape, at: int) -> tuple[bool, Verdict, list[str]]:
    name = f"disk-{shape.words.replace(' ', '-').replace(',', '')}-{at}"
    scene = Scene(world.subfolder(name), world.drivers, speed=_SPEED, rate_hz=_RATE_HZ, defect=world.defect)
    scene.switch("away", on=True)
    plan = scene.plan(
        at=at,
        act=shape.act,
        only=shape.only,
        error=shape.error,
        halves=shape.halves,
        lift=scene.lift,
        hit=scene.hit,
    )
    process = scene.start(count=_COUNT, ends=not shape.killed, limit_s=15.0, plan=plan)
    _live(scene, process, killed=shape.killed)
    scene.quiet(fresh=2)
    hit = scene.hit.read_text().strip() if scene.hit.exists() else ""
    return bool(hit), scene.verdict(), [f"{fault} ({hit})" for fault in scene.faults(order=False)]


def _live(scene: Scene, process: Running, *, killed: bool) -> None:
    """Nothing may be lost, also by the kill: it comes when all has had the time to be committed."""
    if not killed:
        process.ended_within(_AWAY_S)
        scene.switch("away", on=False)
    process.ended_within(_ILL_S)
    scene.switch("lift", on=True)
    if killed:
        scene.wait_saved(process)
        scene.note_end(process.kill())
    else:
        scene.note_end(process.end(20))
