"""Every policy over every scenario, and the bound beside them; in several processes. No state."""

import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from agent.budget import Budget, Caps
from agent.flow import Route
from agent.router import Mode, Prefer, Router
from agent.simulator.agenda import AgendaClock
from agent.simulator.bound import bound
from agent.simulator.conditions import Camera, Conditions
from agent.simulator.policies import BASELINES
from agent.simulator.product import Product
from agent.simulator.scenario import BIN_S, BYTES_PER_MBIT, Floats, Scenario, Span
from agent.simulator.score import Score, score
from agent.simulator.world import MakePolicy, World

ROUTER = "router"
POLICIES = (*BASELINES, ROUTER)
"""All names, the agent's own last."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all."""

    policies: tuple[str, ...] = POLICIES
    fps: float = 10.0
    local_s: float = 0.080
    seed: int = 1
    prefer: Prefer = Prefer.ACCURACY
    """This and the caps are the router's alone."""
    caps: Caps = field(default_factory=Caps)


@dataclass(frozen=True, slots=True)
class Course:
    """What the router did in one scenario, and what the link was like."""

    capacity_mbit_s: Floats
    """For each second; the outages are not in it."""
    outages: tuple[Span, ...]
    captured_s: Floats
    """For each frame."""
    believed_mbit_s: Floats
    """What the router thought the link carries; NaN where it had no idea."""
    by_cloud: Floats
    """1: answered by the cloud, 0: by the device; NaN: by none."""


@dataclass(frozen=True, slots=True)
class Heat:
    """One scenario with one deadline: all policies under the same conditions."""

    scenario: str
    deadline_s: float
    bound: float
    """Mean utility that no policy can exceed."""
    scores: dict[str, Score]
    """By the policies' names."""
    course: Course | None
    """None when the router was not among them."""

    def ratio(self, policy: str) -> float:
        """A policy's utility as a share of the bound."""
        return self.scores[policy].utility / self.bound if self.bound else 0.0


def run(
    scenarios: Sequence[Scenario], deadlines_s: Sequence[float], terms: Terms, *, jobs: int = 1
) -> Iterator[tuple[int, Heat]]:
    """Every heat with its number, as they end: the scenarios in turn for the first deadline, then for the next."""
    draws = [(scenario, deadline_s) for deadline_s in deadlines_s for scenario in scenarios]
    if jobs == 1:
        for number, draw in enumerate(draws):
            yield number, heat(*draw, terms)
        return
    # Spawned: a fork would copy the threads' locks of numpy's libraries, not the threads.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_leave_interrupts)
    try:
        numbers: dict[Future[Heat], int] = {pool.submit(heat, *draw, terms): n for n, draw in enumerate(draws)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that began this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def heat(scenario: Scenario, deadline_s: float, terms: Terms) -> Heat:
    """Let every policy run through one scenario."""
    camera = Camera(terms.fps, deadline_s, terms.local_s)
    conditions = Conditions(scenario, terms.seed, terms.fps)
    scores: dict[str, Score] = {}
    course = None
    with tempfile.TemporaryDirectory() as folder:
        for name in terms.policies:
            make = _router(terms, Path(folder)) if name == ROUTER else BASELINES[name]
            world = World(conditions, camera, make).run()
            scores[name] = score(world)
            course = _course(world) if name == ROUTER else course
    return Heat(scenario.name, deadline_s, bound(conditions, camera), scores, course)


def _router(terms: Terms, folder: Path) -> MakePolicy:
    def make(world: World) -> Product:
        thrifty = terms.prefer is Prefer.COST
        clock = AgendaClock(world.agenda)
        budget = Budget(terms.caps, folder / "budget", clock=clock, boot_id="simulated", thrifty=thrifty)
        return Product(world, router=Router(Mode.AUTO, terms.prefer), budget=budget)

    return make


def _course(world: World) -> Course:
    scenario, each = world.conditions.scenario, round(1 / BIN_S)
    whole = len(scenario.capacity) // each * each
    by_cloud = {Route.CLOUD: 1.0, Route.LOCAL: 0.0, None: np.nan}
    return Course(
        capacity_mbit_s=scenario.capacity[:whole].reshape(-1, each).sum(axis=1) / BYTES_PER_MBIT,
        outages=scenario.outages,
        captured_s=np.array([shot.captured_s for shot in world.shots]),
        believed_mbit_s=np.array([shot.uplink_mbit_s or np.nan for shot in world.shots]),
        by_cloud=np.array([by_cloud[shot.answered_by] for shot in world.shots]),
    )
