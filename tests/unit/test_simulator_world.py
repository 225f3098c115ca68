"""The simulated world: it keeps count of everything, it is the same for all, and nobody beats the bound."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.budget import Budget, Caps
from agent.case import LOCAL_WORTH
from agent.clock import SystemClock
from agent.flow import Reason, Route
from agent.router import Mode, Prefer, Router
from agent.simulator.agenda import AgendaClock
from agent.simulator.bound import bound
from agent.simulator.conditions import Camera, Conditions
from agent.simulator.policies import BASELINES
from agent.simulator.product import Product
from agent.simulator.scenario import (
    BIN_S,
    LADDER,
    Brownout,
    Scenario,
    bytes_per_bin,
    even_rtt,
    synthetic,
)
from agent.simulator.score import score
from agent.simulator.world import MakePolicy, Policy, Shot, World

SECONDS = 30.0
CAMERA = Camera()
POLICIES: dict[str, MakePolicy] = {**BASELINES, "router": Product}


def a_link(mbit_s: float = 8.0, *, rtt_ms: float = 60.0, seconds: float = SECONDS) -> Scenario:
    bins = round(seconds / BIN_S)
    return Scenario("a link", np.full(bins, bytes_per_bin(mbit_s)), even_rtt(rtt_ms))


def a_run(scenario: Scenario, make: MakePolicy = Product, *, camera: Camera = CAMERA, seed: int = 1) -> World:
    return World(Conditions(scenario, seed, camera.fps), camera, make).run()


spans = st.tuples(st.floats(1, 10), st.floats(0.3, 8)).map(lambda span: (span[0], span[0] + span[1]))
rates = st.lists(st.floats(0.0, 30.0), min_size=4, max_size=4)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    capacity = np.repeat([bytes_per_bin(rate) for rate in draw(rates)], 400).astype(np.float64)
    slow = draw(st.lists(st.tuples(spans, st.floats(1.0, 20.0)), max_size=1))
    scenario = Scenario(
        "drawn",
        capacity,
        even_rtt(draw(st.floats(5, 250))),
        brownouts=tuple(Brownout(*span, factor) for span, factor in slow),
    )
    return scenario.with_outages(draw(st.lists(spans, max_size=1)))


cameras = st.builds(
    Camera,
    deadline_s=st.sampled_from([0.2, 0.3, 0.5, 1.0]),
    local_s=st.sampled_from([0.03, 0.08, 0.15, 0.29, 0.7]),
)


@settings(max_examples=40, deadline=None)
@given(scenarios(), st.sampled_from(sorted(POLICIES)), cameras, st.integers(0, 9))
def test_no_policy_exceeds_the_bound(scenario: Scenario, policy: str, camera: Camera, seed: int) -> None:
    world = a_run(scenario, POLICIES[policy], camera=camera, seed=seed)
    assert score(world).utility <= bound(world.conditions, camera) + 1e-9


@settings(max_examples=25, deadline=None)
@given(scenarios(), st.floats(1.0, 5.0))
def test_a_faster_link_never_lowers_the_bound(scenario: Scenario, factor: float) -> None:
    faster = replace(scenario, capacity=scenario.capacity * factor)
    slow, fast = (bound(Conditions(link, 1, CAMERA.fps), CAMERA) for link in (scenario, faster))
    assert fast >= slow - 1e-9


@settings(max_examples=15, deadline=None)
@given(scenarios(), st.sampled_from(sorted(POLICIES)))
def test_every_frame_has_one_fate_and_every_byte_is_counted(scenario: Scenario, policy: str) -> None:
    world = a_run(scenario, POLICIES[policy])
    result = score(world)
    unanswered = sum(shot.answered_by is None for shot in world.shots)
    assert result.cloud + result.local + unanswered == result.frames == len(world.conditions.captured_s)
    for upload in world.uploads:
        assert 0 <= upload.acked_bytes <= upload.size_bytes
        assert upload.metered_bytes >= upload.acked_bytes
        assert not (upload.answered_s is not None and upload.cancelled)
    answered = [shot for shot in world.shots if shot.answered_by is Route.CLOUD]
    assert all(shot.published_s is not None and shot.published_s <= shot.settle_s for shot in answered)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_same_seed_gives_the_same_run_and_another_seed_another(policy: str) -> None:
    scenario = synthetic(3, 20.0)[3]
    first, again, other = (score(a_run(scenario, POLICIES[policy], seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_all_policies_meet_the_same_link_server_and_worker() -> None:
    scenario = a_link()
    conditions = [a_run(scenario, make).conditions for make in (BASELINES["always-local"], Product)]
    for about in ("captured_s", "round_trips", "load_s"):
        assert getattr(conditions[0], about) == getattr(conditions[1], about)


@pytest.mark.parametrize("mbit_s", [1.0, 4.0, 20.0])
def test_the_router_learns_the_rate_of_a_steady_link(mbit_s: float) -> None:
    world = a_run(a_link(mbit_s), camera=Camera(deadline_s=1.0))
    believed = [shot.uplink_mbit_s for shot in world.shots[-50:] if shot.uplink_mbit_s]
    assert np.median(believed) == pytest.approx(mbit_s, rel=0.15)


@pytest.mark.parametrize("deadline_s", [0.3, 0.5, 1.0])
def test_the_router_loses_no_frame_to_an_outage_and_never_goes_silent(deadline_s: float) -> None:
    scenario = a_link().with_outages([(10.0, 14.0)])
    camera = Camera(deadline_s=deadline_s)
    result = score(a_run(scenario, camera=camera))
    assert result.on_time == 1.0
    assert result.missed_s == 0.0
    assert result.longest_gap_s <= deadline_s + 1 / camera.fps


def test_without_a_hedge_an_outage_costs_frames() -> None:
    scenario = a_link().with_outages([(10.0, 14.0)])
    missed_s = score(a_run(scenario, BASELINES["always-cloud"])).missed_s
    assert missed_s is not None
    assert missed_s >= 4.0


def test_on_a_dead_link_the_router_sends_no_picture_after_the_first_and_only_dials() -> None:
    scenario = a_link().with_outages([(10.0, 25.0)])
    world = a_run(scenario)
    sent = [upload for upload in world.uploads if 12.0 < upload.sent_s < 24.0]
    assert not sent
    assert world.dials > 0
    assert {shot.reason for shot in world.shots if 12.0 < shot.captured_s < 24.0} == {Reason.DEAD.value}


def test_a_link_that_is_too_slow_is_left_alone_but_for_rare_probes() -> None:
    result = score(a_run(a_link(0.2, seconds=60.0)))
    assert result.cloud_share <= 0.01
    assert result.mb_per_min < 1.0


def test_the_first_answer_waits_for_the_model_to_be_loaded() -> None:
    world = a_run(a_link())
    first = world.uploads[0]
    assert first.cold_start
    assert first.answered_s is not None
    assert first.answered_s - first.sent_s >= world.conditions.load_s


def test_a_data_cap_is_kept_to_a_minute_of_its_allowance(tmp_path: Path) -> None:
    allowed_mb_per_min = 2.0
    caps = Caps(data_mb_per_day=allowed_mb_per_min * 24 * 60)

    def capped(world: World) -> Product:
        clock = AgendaClock(world.agenda)
        return Product(world, budget=Budget(caps, tmp_path / "budget", clock=clock, boot_id="simulated"))

    scenario = a_link(seconds=120.0)
    assert score(a_run(scenario)).mb_per_min > 5 * allowed_mb_per_min
    assert score(a_run(scenario, capped)).mb_per_min <= 1.5 * allowed_mb_per_min


def test_where_latency_matters_most_the_device_answers_first_and_the_cloud_corrects() -> None:
    world = a_run(a_link(), lambda world: Product(world, router=Router(Mode.AUTO, Prefer.LATENCY)))
    waits_s = [shot.published_s - shot.captured_s for shot in world.shots if shot.published_s is not None]
    assert np.median(waits_s) <= 0.12
    assert score(world).cloud_share > 0.3


def test_a_device_that_is_too_slow_for_every_frame_answers_what_it_can() -> None:
    camera = Camera(local_s=0.18)
    here = score(a_run(a_link(0.05), camera=camera))
    both = score(a_run(a_link(20.0), camera=camera))
    assert 0.4 <= here.on_time <= 0.7
    assert both.on_time > here.on_time


def test_the_ladder_grows_in_size_and_worth() -> None:
    assert list(LADDER) == sorted(LADDER, key=lambda rung: (rung.size_bytes, rung.worth))


def test_the_five_scenarios_last_as_long_as_asked() -> None:
    assert [round(scenario.seconds) for scenario in synthetic(1, 40.0)] == [40] * 5


def test_a_device_too_slow_for_the_deadline_works_all_the_same_and_is_worth_nothing() -> None:
    camera = Camera(local_s=0.8)
    world = a_run(a_link(0.0), camera=camera)
    result = score(world)
    assert result.utility == 0.0
    assert bound(world.conditions, camera) == 0.0
    assert result.local_duty > 0.8
    assert result.longest_gap_s < 2.0  # late answers are published


def test_the_bound_gives_a_device_that_cannot_keep_up_no_more_time_than_there_is() -> None:
    conditions = Conditions(a_link(0.0), 1, CAMERA.fps)
    most = bound(conditions, Camera(local_s=0.25))
    reached = score(a_run(a_link(0.0), BASELINES["always-local"], camera=Camera(local_s=0.25))).utility
    assert reached <= most < 1.15 * reached
    assert bound(conditions, Camera(local_s=0.08)) == pytest.approx(LOCAL_WORTH)


def test_a_late_run_of_the_device_takes_its_time_and_a_hedge_that_cannot_begin_in_time_is_spared() -> None:
    world = World(Conditions(a_link(), 1, 10.0), Camera(local_s=0.3), Policy)
    first, late, hedged = (Shot(seq, 0.0, 0.25) for seq in range(3))
    world.worker.promise(first, 0.0)
    world.worker.promise(late, 0.0)
    world.worker.promise(hedged, 0.2, hedge=True)
    world.agenda.run(2.0)
    assert (first.local_s, late.local_s, hedged.local_s) == (pytest.approx(0.3), pytest.approx(0.6), None)
    assert late.worth == 0.0
    assert world.worker.busy_s == pytest.approx(0.6)


def test_a_decision_is_timed_with_all_that_it_goes_by() -> None:
    world = World(Conditions(a_link(seconds=5.0), 1, 10.0), CAMERA, lambda world: Product(world, clock=SystemClock()))
    world.run()
    assert isinstance(world.policy, Product)
    assert len(world.policy.decide_s) >= len(world.shots)
