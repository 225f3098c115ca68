import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.case import HEDGE_RUNS, HEDGE_SLACK_S, Candidate, Load
from agent.errors import Cause
from agent.evidence import Evidence, LinkView
from agent.flow import Decision, Prices, Reason, Route, Rung
from agent.router import (
    P_SURE,
    PROBE_MAX_S,
    PROBE_MIN_S,
    Errand,
    Mode,
    Prefer,
    Router,
    in_flight_limit,
)

NOW_S = 1000.0
DEADLINE_S = NOW_S + 0.5
SIZES = {20_000: 0.93, 45_000: 0.98, 90_000: 0.997, 180_000: 1.0}
LADDER = tuple(Rung(size, 640, 80, worth) for size, worth in SIZES.items())
FRAME = Candidate("cam", DEADLINE_S, LADDER)
IDLE = Load(fps=10, in_flight_limit=6, local_free=True, local_run_s=0.08, local_fits=True)
BUSY = replace(IDLE, local_free=False, local_fits=False)


def request(*, rtt_s: float = 0.05, server_s: float = 0.15, mbit_s: float = 50.0, at_s: float = NOW_S) -> Evidence:
    return Evidence(at_s, rtt_s, server_s, 8e-6 / mbit_s)


LATE = request(server_s=0.9)
FAILED = Evidence(NOW_S, 0.05, float("inf"), 1e-6, Cause.SERVER)


def view(*evidence: Evidence, now_s: float = NOW_S) -> LinkView:
    return LinkView(now_s, evidence, on_time_s=NOW_S if evidence else float("-inf"))


GOOD = view(*[request()] * 10)


def decide(
    link: LinkView,
    load: Load = IDLE,
    *,
    router: Router | None = None,
    frame: Candidate = FRAME,
    prices: Prices | None = None,
) -> Decision:
    decision = (router or Router(Mode.AUTO)).decide(frame, link=link, load=load, prices=prices)
    assert decision is not None
    return decision


def probed(router: Router) -> Router:
    """A router whose first probe is behind it."""
    assert decide(view(), router=router).reason is Reason.PROBE
    return router


# Where a frame goes


def test_a_good_link_carries_the_frame_and_the_local_run_waits_in_reserve() -> None:
    decision = decide(GOOD)
    assert (decision.route, decision.reason) == (Route.CLOUD, Reason.P_OK)
    assert decision.local_start_s == pytest.approx(DEADLINE_S - HEDGE_RUNS * 0.08 - HEDGE_SLACK_S)
    assert decision.outlook is not None
    assert decision.outlook.uplink_mbit_s == pytest.approx(50)


def test_an_uncertain_link_carries_the_frame_while_the_local_run_starts_at_once() -> None:
    decision = decide(view(*[request()] * 7, *[LATE] * 3))
    assert decision.route is Route.CLOUD
    assert decision.local_start_s == NOW_S


def test_the_hedge_never_starts_in_the_past_and_at_once_while_the_model_is_unknown() -> None:
    assert decide(GOOD, replace(IDLE, local_run_s=0.4)).local_start_s == NOW_S
    assert decide(GOOD, replace(IDLE, local_run_s=0.0)).local_start_s == NOW_S


@pytest.mark.parametrize(
    ("mbit_s", "size_bytes"), [(50.0, 180_000), (12.0, 90_000), (5.0, 45_000), (2.0, 20_000), (1.0, 20_000)]
)
def test_the_size_is_the_one_that_gains_most_per_second_of_link(mbit_s: float, size_bytes: int) -> None:
    decision = decide(view(*[request(mbit_s=mbit_s)] * 10), prices=Prices(per_mb=0.0))
    assert decision.rung is not None
    assert decision.rung.size_bytes == size_bytes


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ([], Reason.NO_EVIDENCE),
        ([request(at_s=NOW_S - 60)], Reason.NO_EVIDENCE),
        ([request(mbit_s=0.2)] * 9, Reason.P_LOW_BANDWIDTH),
        ([LATE] * 9, Reason.P_LOW_SERVER),
        ([request(rtt_s=0.6)] * 9, Reason.P_LOW_RTT),
        ([FAILED] * 9, Reason.HTTP_ERROR),
    ],
)
def test_a_bad_link_keeps_the_frame_here_and_says_why(evidence: list[Evidence], reason: Reason) -> None:
    decision = decide(replace(view(*evidence), on_time_s=float("-inf")), router=probed(Router(Mode.AUTO)))
    assert (decision.route, decision.reason) == (Route.LOCAL, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dead": True}, Reason.DEAD),
        ({"stalled": True}, Reason.STALLED),
        ({"closed_until_s": NOW_S + 60, "closed_reason": Reason.HTTP_AUTH, "refused": True}, Reason.HTTP_AUTH),
        ({"closed_until_s": NOW_S - 1, "closed_reason": Reason.HTTP_AUTH, "refused": True}, Reason.HTTP_AUTH),
        ({"closed_until_s": NOW_S + 60, "closed_reason": Reason.HTTP_RATE_LIMITED}, Reason.HTTP_RATE_LIMITED),
    ],
)
def test_a_shut_cloud_gets_no_frame_and_no_probe(change: dict[str, object], reason: Reason) -> None:
    decision = decide(replace(GOOD, **change))  # type: ignore[arg-type]
    assert (decision.route, decision.reason) == (Route.LOCAL, reason)


def test_noise_around_the_threshold_does_not_flip_the_route() -> None:
    router = Router(Mode.AUTO)
    middling = view(*[request()] * 5, *[LATE] * 5)
    assert decide(middling, router=router).reason is Reason.PROBE
    assert decide(middling, router=router).route is Route.LOCAL
    assert decide(GOOD, router=router).route is Route.CLOUD
    assert decide(middling, router=router).route is Route.CLOUD


def test_a_full_window_keeps_the_frame_here() -> None:
    decision = decide(replace(GOOD, in_flight=6))
    assert (decision.route, decision.reason) == (Route.LOCAL, Reason.INFLIGHT_FULL)


# The wire


def test_while_an_upload_is_on_the_wire_the_frame_is_answered_here_and_waits_for_it() -> None:
    decision = decide(replace(GOOD, in_flight=1, unacked_bytes=10**7))
    assert (decision.route, decision.reason, decision.waits) == (Route.LOCAL, Reason.UPLINK_BUSY, True)
    assert decision.local_start_s == NOW_S
    assert decision.rung is None


def test_a_waiting_frame_goes_when_the_wire_is_free_if_it_can_still_be_in_time() -> None:
    router, waiting = Router(Mode.AUTO), replace(FRAME, waiting=True)
    assert router.decide(waiting, link=replace(GOOD, in_flight=1, unacked_bytes=10**7), load=IDLE) is None
    decision = router.decide(waiting, link=replace(GOOD, in_flight=1), load=BUSY)
    assert decision is not None
    assert decision.route is Route.CLOUD
    stale = replace(waiting, deadline_s=NOW_S + 0.1)
    assert router.decide(stale, link=GOOD, load=IDLE) is None


def test_a_waiting_frame_is_no_probe() -> None:
    assert Router(Mode.AUTO).decide(replace(FRAME, waiting=True), link=view(), load=IDLE) is None


# Probes and errands


def test_an_unknown_cloud_is_asked_with_the_smallest_picture_and_the_local_run_starts_at_once() -> None:
    decision = decide(view())
    assert (decision.route, decision.reason, decision.local_start_s) == (Route.CLOUD, Reason.PROBE, NOW_S)
    assert decision.rung == LADDER[0]


def test_a_probe_waits_for_the_one_before_it() -> None:
    assert decide(replace(view(), in_flight=1)).route is Route.LOCAL


def probe_times(silent_s: float, step_s: float = 0.1) -> list[float]:
    """When a cloud that never answers is probed."""
    router = Router(Mode.AUTO)
    times = [NOW_S + n * step_s for n in range(int(silent_s / step_s))]
    return [
        now_s
        for now_s in times
        if decide(view(now_s=now_s), router=router, frame=replace(FRAME, deadline_s=now_s + 0.5)).reason is Reason.PROBE
    ]


def test_probes_grow_rare_with_the_silence_but_never_rarer_than_once_a_minute() -> None:
    times = probe_times(1800.0, step_s=0.5)
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert pauses[0] == pytest.approx(PROBE_MIN_S)
    assert pauses == sorted(pauses)
    assert PROBE_MAX_S <= pauses[-1] <= PROBE_MAX_S + 0.5
    for at_s, pause_s in zip(times, pauses, strict=False):
        assert pause_s <= max(PROBE_MIN_S, 0.1 * (at_s - NOW_S)) + 0.51


def test_an_answer_in_time_is_followed_up_at_once() -> None:
    router = Router(Mode.AUTO)
    decide(view(), router=router)
    assert decide(view(now_s=NOW_S + 0.1), router=router).route is Route.LOCAL
    lucky = replace(view(now_s=NOW_S + 0.1), on_time_s=NOW_S + 0.1)
    assert decide(lucky, router=router).reason is Reason.PROBE


def test_one_lucky_probe_moves_the_clock_of_the_probes_only_half_way() -> None:
    router = Router(Mode.AUTO)
    decide(view(), router=router)
    late_s = NOW_S + 400
    lucky = replace(view(now_s=late_s), on_time_s=late_s)
    frame = replace(FRAME, deadline_s=late_s + 0.5)
    assert decide(lucky, router=router, frame=frame).reason is Reason.PROBE
    assert decide(replace(lucky, now_s=late_s + 19), router=router, frame=frame).route is Route.LOCAL
    assert decide(replace(lucky, now_s=late_s + 22), router=router, frame=frame).reason is Reason.PROBE


def test_a_dead_link_is_dialled_and_not_sent_frames() -> None:
    router = Router(Mode.AUTO)
    dead = replace(view(), dead=True)
    assert router.errand(dead) is Errand.DIAL
    assert router.errand(dead) is None
    assert router.errand(replace(dead, now_s=NOW_S + PROBE_MIN_S)) is Errand.DIAL
    assert decide(dead, router=router).reason is Reason.DEAD


def test_dials_never_grow_rarer_than_one_a_second() -> None:
    router = Router(Mode.AUTO)
    dead = replace(view(), dead=True)
    router.errand(dead)
    router.errand(replace(dead, now_s=NOW_S + 900))
    assert router.errand(replace(dead, now_s=NOW_S + 901)) is Errand.DIAL


def test_a_connection_after_none_is_followed_by_a_probe_at_once() -> None:
    router = Router(Mode.AUTO)
    assert router.errand(replace(view(), dead=True)) is Errand.DIAL
    back = replace(view(now_s=NOW_S + 0.2), dialled_s=NOW_S + 0.2)
    assert decide(back, router=router).reason is Reason.PROBE


def test_a_cloud_that_said_no_is_knocked_at_after_its_pause_and_not_before() -> None:
    router = Router(Mode.AUTO)
    closed = replace(view(), refused=True, closed_until_s=NOW_S + 180)
    assert router.errand(closed) is None
    assert router.errand(replace(closed, now_s=NOW_S + 181)) is Errand.KNOCK


def test_a_living_link_needs_no_errand() -> None:
    assert Router(Mode.AUTO).errand(GOOD) is None
    assert Router(Mode.LOCAL_ONLY).errand(replace(GOOD, dead=True)) is None


# The device


def test_a_local_model_that_cannot_keep_its_promise_leaves_the_frame_to_a_good_link_alone() -> None:
    decision = decide(GOOD, replace(IDLE, hedge_fits=False, local_free=False))
    assert (decision.route, decision.reason, decision.local_start_s) == (Route.CLOUD, Reason.LOCAL_OVERLOADED, None)


def test_an_idle_device_that_was_too_slow_tries_all_the_same_beside_the_cloud() -> None:
    decision = decide(GOOD, replace(IDLE, hedge_fits=False))
    assert (decision.reason, decision.local_start_s) == (Reason.LOCAL_OVERLOADED, NOW_S)


def test_one_cameras_frames_do_not_unsettle_anothers() -> None:
    router = Router(Mode.AUTO)
    other = replace(FRAME, camera="other", ladder=LADDER[-1:], deadline_s=NOW_S + 0.15)
    for _ in range(3):
        assert decide(GOOD, router=router).route is Route.CLOUD
        router.decide(other, link=GOOD, load=IDLE)
        assert decide(GOOD, router=router).threshold == pytest.approx(0.4)
    assert router.on_cloud


def test_a_probe_whose_frame_was_gone_is_still_due() -> None:
    router = Router(Mode.AUTO)
    first = decide(view(), router=router)
    assert first.reason is Reason.PROBE
    assert decide(view(now_s=NOW_S + 0.01), router=router).reason is not Reason.PROBE
    router.forgo(first)
    assert decide(view(now_s=NOW_S + 0.02), router=router).reason is Reason.PROBE


@pytest.mark.parametrize("cause", [Cause.TLS, Cause.TLS_EXPIRED, Cause.TLS_HOST])
def test_a_certificate_that_will_not_do_is_tried_ever_more_rarely(cause: Cause) -> None:
    router = Router(Mode.AUTO)
    dials = 0
    for tenth in range(3000):
        link = replace(view(now_s=NOW_S + tenth / 10), dead=True, dead_cause=cause)
        dials += router.errand(link) is Errand.DIAL
    assert 10 < dials < 60


def test_with_no_data_left_nothing_is_dialled() -> None:
    dead = replace(view(), dead=True)
    assert Router(Mode.AUTO).errand(dead, Prices(data_left_bytes=100.0)) is None
    assert Router(Mode.AUTO).errand(dead, Prices(data_left_bytes=1e6)) is Errand.DIAL


def test_where_a_probe_is_too_dear_the_budget_is_the_reason_and_not_that_too_little_is_known() -> None:
    decision = Router(Mode.AUTO).decide(FRAME, link=view(), load=IDLE, prices=Prices(per_mb=50.0))
    assert decision is not None
    assert decision.reason is Reason.BUDGET_DATA


def test_cloud_only_sends_nothing_over_a_link_that_is_dead_or_has_stalled() -> None:
    for link in (replace(GOOD, dead=True), replace(GOOD, stalled=True)):
        assert Router(Mode.CLOUD_ONLY).decide(FRAME, link=link, load=IDLE) is None


def test_with_few_frames_to_spend_evidence_lasts_longer() -> None:
    old = replace(GOOD, now_s=NOW_S + 20)
    frame = replace(FRAME, deadline_s=NOW_S + 20.5)
    rich, poor = (
        Router(Mode.AUTO).decide(frame, link=old, load=IDLE, prices=Prices(data_bytes_s=rate)) for rate in (1e6, 1000.0)
    )
    assert rich is not None
    assert poor is not None
    assert rich.p == pytest.approx(0.56, abs=0.01)
    assert poor.p == pytest.approx(0.97, abs=0.01)


def test_frames_queue_for_a_model_that_keeps_up_and_wait_as_the_newest_for_one_that_does_not() -> None:
    router, queued = Router(Mode.AUTO), replace(IDLE, local_free=False)
    assert decide(replace(view(), stalled=True), queued).route is Route.LOCAL
    slow = replace(queued, local_run_s=0.18)
    assert router.decide(FRAME, link=replace(view(), stalled=True), load=slow) is None


def test_a_frame_waits_where_no_lane_has_room() -> None:
    assert Router(Mode.AUTO).decide(FRAME, link=view(), load=BUSY) is None
    assert Router(Mode.LOCAL_ONLY).decide(FRAME, link=view(), load=BUSY) is None
    assert Router(Mode.CLOUD_ONLY).decide(FRAME, link=replace(view(), in_flight=6), load=BUSY) is None


# Modes and preferences


def test_local_only_and_cloud_only_do_what_they_say() -> None:
    only_local = decide(GOOD, router=Router(Mode.LOCAL_ONLY))
    assert (only_local.route, only_local.reason) == (Route.LOCAL, Reason.LOCAL_ONLY)
    only_cloud = decide(view(LATE), router=Router(Mode.CLOUD_ONLY))
    assert (only_cloud.route, only_cloud.reason, only_cloud.local_start_s) == (Route.CLOUD, Reason.CLOUD_ONLY, None)


def test_cloud_only_sends_what_the_link_can_carry_and_one_at_a_time() -> None:
    router = Router(Mode.CLOUD_ONLY)
    slow = view(*[request(mbit_s=2.0)] * 5)
    decision = decide(slow, router=router)
    assert decision.rung == LADDER[0]
    assert router.decide(FRAME, link=replace(slow, in_flight=1, unacked_bytes=10**7), load=IDLE) is None


@pytest.mark.parametrize("change", [{"closed_until_s": NOW_S + 60}, {"refused": True}])
def test_cloud_only_leaves_a_cloud_alone_that_said_no(change: dict[str, object]) -> None:
    link = replace(GOOD, **change)  # type: ignore[arg-type]
    assert Router(Mode.CLOUD_ONLY).decide(FRAME, link=link, load=IDLE) is None


def test_with_latency_preferred_the_device_answers_at_once_and_only_a_sure_cloud_is_asked() -> None:
    router = Router(Mode.AUTO, Prefer.LATENCY)
    decision = decide(GOOD, router=router)
    assert (decision.route, decision.local_start_s, decision.prompt) == (Route.CLOUD, NOW_S, True)
    unsure = replace(view(*[request()] * 7, *[LATE] * 3), on_time_s=float("-inf"))
    assert decide(unsure, router=probed(Router(Mode.AUTO, Prefer.LATENCY))).route is Route.LOCAL
    assert decide(unsure, router=probed(Router(Mode.AUTO))).route is Route.CLOUD


def test_with_cost_preferred_an_uncertain_cloud_is_left_alone() -> None:
    unsure = replace(view(*[request()] * 7, *[LATE] * 3), on_time_s=float("-inf"))
    assert decide(unsure, router=probed(Router(Mode.AUTO, Prefer.COST))).route is Route.LOCAL


def test_with_a_cool_device_preferred_its_model_waits_until_the_cloud_has_had_its_time() -> None:
    unsure = view(*[request()] * 8, LATE)
    cool, usual = decide(unsure, router=Router(Mode.AUTO, Prefer.COOL)), decide(unsure)
    assert (cool.route, usual.route) == (Route.CLOUD, Route.CLOUD)
    assert cool.p is not None
    assert cool.p < P_SURE
    assert usual.local_start_s == NOW_S
    assert cool.local_start_s == pytest.approx(FRAME.deadline_s - 2.2 * IDLE.local_run_s - 0.015)


def test_with_a_cool_device_preferred_a_frame_that_waits_for_the_wire_is_not_looked_at_here_meanwhile() -> None:
    busy = replace(GOOD, in_flight=1, unacked_bytes=10**7)
    cool, usual = decide(busy, router=Router(Mode.AUTO, Prefer.COOL)), decide(busy)
    assert (cool.reason, cool.waits) == (usual.reason, usual.waits) == (Reason.UPLINK_BUSY, True)
    assert usual.local_start_s == NOW_S
    assert cool.local_start_s == pytest.approx(FRAME.deadline_s - 2.2 * IDLE.local_run_s - 0.015)
    full = replace(IDLE, hedge_fits=False)
    assert decide(busy, router=Router(Mode.AUTO, Prefer.COOL), load=full).local_start_s == NOW_S


def test_with_a_cool_device_preferred_the_cloud_is_worth_a_higher_price_though_no_cap_is_passed() -> None:
    dear = Prices(per_call=0.5)
    assert decide(GOOD, prices=dear).route is Route.LOCAL
    assert decide(GOOD, prices=dear, router=Router(Mode.AUTO, Prefer.COOL)).route is Route.CLOUD
    spent = Prices(credits_left=0.0)
    assert decide(GOOD, prices=spent, router=Router(Mode.AUTO, Prefer.COOL)).route is Route.LOCAL


def test_a_router_that_is_told_otherwise_decides_so_from_then_on_and_knows_what_it_knew() -> None:
    router = Router(Mode.AUTO)
    assert decide(GOOD, router=router).route is Route.CLOUD
    router.follow(Mode.LOCAL_ONLY, Prefer.ACCURACY)
    assert (router.policy, router.on_cloud) == ((Mode.LOCAL_ONLY, Prefer.ACCURACY), False)
    assert decide(GOOD, router=router).reason is Reason.LOCAL_ONLY
    router.follow(Mode.AUTO, Prefer.ACCURACY)
    assert decide(GOOD, router=router).reason is Reason.P_OK


# Budgets


def test_a_price_buys_the_smaller_picture_and_a_higher_one_none() -> None:
    assert decide(GOOD, prices=Prices(per_mb=0.0)).rung == LADDER[3]
    assert decide(GOOD, prices=Prices(per_mb=1.5)).rung == LADDER[1]
    dear = decide(GOOD, prices=Prices(per_mb=20.0))
    assert (dear.route, dear.reason) == (Route.LOCAL, Reason.BUDGET_DATA)
    assert decide(GOOD, prices=Prices(per_call=0.5)).reason is Reason.BUDGET_CREDITS


def test_an_empty_bucket_stops_uploads_and_probes_alike() -> None:
    for prices, reason in (
        (Prices(data_left_bytes=5_000), Reason.BUDGET_DATA),
        (Prices(credits_left=0.0), Reason.BUDGET_CREDITS),
    ):
        decision = decide(GOOD, prices=prices)
        assert (decision.route, decision.reason) == (Route.LOCAL, reason)
        assert decide(view(), prices=prices).route is Route.LOCAL


def test_what_is_left_limits_the_size() -> None:
    assert decide(GOOD, prices=Prices(data_left_bytes=50_000)).rung == LADDER[1]


def test_a_cloud_that_is_priced_out_is_not_probed() -> None:
    assert decide(view(), prices=Prices(per_mb=20.0)).route is Route.LOCAL


def test_a_frame_with_more_at_stake_is_worth_a_higher_price() -> None:
    prices = Prices(per_call=0.4)
    assert decide(GOOD, prices=prices).route is Route.LOCAL
    assert decide(GOOD, prices=prices, frame=replace(FRAME, stake=3.0)).route is Route.CLOUD


# Always


@given(
    evidence=st.lists(
        st.builds(
            Evidence,
            st.floats(NOW_S - 30, NOW_S),
            st.floats(0.001, 1),
            st.floats(0, 5),
            st.floats(1e-8, 1e-3),
            st.sampled_from([None, Cause.SERVER]),
        ),
        max_size=64,
    ),
    in_flight=st.integers(0, 10),
    unacked=st.integers(0, 10**6),
    flags=st.tuples(*[st.booleans()] * 6),
    router=st.builds(Router, st.sampled_from(Mode), st.sampled_from(Prefer)),
    run_s=st.floats(0.0, 2.0),
)
def test_every_decision_says_why_and_never_promises_what_there_is_no_room_for(
    *,
    evidence: list[Evidence],
    in_flight: int,
    unacked: int,
    flags: tuple[bool, ...],
    router: Router,
    run_s: float,
) -> None:
    stalled, dead, free, fits, hedge_fits, waiting = flags
    link = LinkView(NOW_S, tuple(evidence), in_flight, unacked, stalled=stalled, dead=dead)
    load = Load(10, 6, local_free=free, local_run_s=run_s, local_fits=fits, hedge_fits=hedge_fits)
    decision = router.decide(replace(FRAME, waiting=waiting), link=link, load=load)
    if decision is None:
        return
    assert (decision.rung is None) == (decision.route is Route.LOCAL)
    if decision.route is Route.CLOUD:
        assert in_flight < 6
        assert not (dead or stalled) or decision.reason is Reason.CLOUD_ONLY
    else:
        assert not waiting
        assert free or fits
    if decision.local_start_s is not None:
        assert decision.local_start_s >= NOW_S


@pytest.mark.parametrize(("deadline_s", "limit"), [(0.3, 4), (0.5, 6), (1.0, 10), (8.0, 10)])
def test_the_window_covers_one_deadline(deadline_s: float, limit: int) -> None:
    assert in_flight_limit(deadline_s, 10) == limit
