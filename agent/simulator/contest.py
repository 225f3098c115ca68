"""Every policy over every scenario, and the bound beside them; in several processes. No state."""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.budget import Budget, Caps
from agent.flow import Route
from agent.router import Mode, Prefer, Router
from agent.simulator import workers
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
_BOUND = ""
"""Among the policies' names."""


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


@dataclass(frozen=True, slots=True)
class _Part:
    """A policy, or the bound, in one scenario with one deadline."""

    number: int
    """Of its heat."""
    scenario: Scenario
    deadline_s: float
    terms: Terms
    policy: str
    """Or _BOUND."""
    folder: Path
    """For what it must write."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a part came to."""

    bound: float | None = None
    score: Score | None = None
    course: Course | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is."""

    done: float
    """Share of all the work."""
    number: int
    heat: Heat | None
    """What has come to an end with the work just done, and its number: the scenarios in turn for the first deadline,
    then for the next."""


def run(
    scenarios: Sequence[Scenario], deadlines_s: Sequence[float], terms: Terms, *, jobs: int = 1
) -> Iterator[Progress]:
    """Every heat, as they end, and word of each policy's run."""
    draws = [(scenario, deadline_s) for deadline_s in deadlines_s for scenario in scenarios]
    names = (*terms.policies, _BOUND)
    found: list[dict[str, _Found]] = [{} for _ in draws]
    whole_s, done_s = sum(scenario.seconds for scenario, _ in draws) * len(names), 0.0
    with workers.orderly(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [_Part(n, *draw, terms, policy, folder) for n, draw in enumerate(draws) for policy in names]
        for part, what in _all(parts, jobs):
            done_s += part.scenario.seconds
            heat = found[part.number]
            heat[part.policy] = what
            yield Progress(done_s / whole_s, part.number, _heat(part, heat) if len(heat) == len(names) else None)


def _all(parts: Sequence[_Part], jobs: int) -> Iterator[tuple[_Part, _Found]]:
    """What each came to, in the order they end."""
    if jobs == 1:
        yield from ((part, _find(part)) for part in parts)
        return
    with workers.pool(jobs) as pool:
        futures: dict[Future[_Found], _Part] = {pool.submit(_find, part): part for part in parts}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _find(part: _Part) -> _Found:
    camera = Camera(part.terms.fps, part.deadline_s, part.terms.local_s)
    conditions = Conditions(part.scenario, part.terms.seed, part.terms.fps)
    if part.policy == _BOUND:
        return _Found(bound=bound(conditions, camera))
    if part.policy != ROUTER:
        return _Found(score=score(World(conditions, camera, BASELINES[part.policy]).run()))
    with tempfile.TemporaryDirectory(dir=part.folder) as own:
        world = World(conditions, camera, _router(part.terms, Path(own))).run()
    return _Found(score=score(world), course=_course(world))


def _heat(part: _Part, found: dict[str, _Found]) -> Heat:
    scores = {name: found[name].score for name in part.terms.policies}
    return Heat(
        part.scenario.name,
        part.deadline_s,
        found[_BOUND].bound or 0.0,
        {name: result for name, result in scores.items() if result is not None},
        found[ROUTER].course if ROUTER in found else None,
    )


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
