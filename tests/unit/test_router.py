from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import Cause
from agent.flow import Decision, Reason, Route
from agent.link import LinkView, Sample
from agent.router import HEDGE_RUNS, HEDGE_SLACK_S, PROBE_MAX_S, Load, Mode, Router, in_flight_limit

NOW_S = 1000.0
DEADLINE_S = NOW_S + 0.5
IDLE = Load(in_flight=0, in_flight_limit=6, local_free=True, local_run_s=0.08, local_fits=True)
BUSY = replace(IDLE, local_free=False)
NEVER = float("-inf")


def view(*times_s: float | None, sent_s: float = NOW_S, good_s: float = NOW_S, server_s: float = 0.03) -> LinkView:
    """A link whose recent requests took `times_s`; None: no answer."""
    samples = tuple(
        Sample(("cam", n), NOW_S, 0.5 if t is None else t, t is not None, server_s=server_s)
        for n, t in enumerate(times_s)
    )
    return LinkView(samples, good_s, sent_s, NEVER, Reason.HTTP_ERROR)


def decide(link: LinkView, load: Load = IDLE, *, router: Router | None = None, mode: Mode = Mode.AUTO) -> Decision:
    decision = (router or Router(mode)).decide(DEADLINE_S, link=link, load=load, now_s=NOW_S)
    assert decision is not None
    return decision


def test_a_good_link_carries_the_frame_and_the_local_run_waits_in_reserve() -> None:
    decision = decide(view(*[0.2] * 10))
    assert (decision.route, decision.reason) == (Route.CLOUD, Reason.P_OK)
    assert decision.local_start_s == pytest.approx(DEADLINE_S - HEDGE_RUNS * 0.08 - HEDGE_SLACK_S)


def test_an_uncertain_link_carries_the_frame_while_the_local_run_starts_at_once() -> None:
    decision = decide(view(*[0.2] * 7, *[0.9] * 3))
    assert decision.route is Route.CLOUD
    assert decision.local_start_s == NOW_S


def test_the_hedge_never_starts_in_the_past() -> None:
    assert decide(view(*[0.2] * 10), replace(IDLE, local_run_s=0.4)).local_start_s == NOW_S


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (view(), Reason.NO_EVIDENCE),
        (view(None, None), Reason.DEAD),
        (view(0.9, 0.9), Reason.P_LOW_BANDWIDTH),
        (view(0.9, 0.9, server_s=0.8), Reason.P_LOW_SERVER),
    ],
)
def test_a_bad_link_keeps_the_frame_here_and_says_why(link: LinkView, reason: Reason) -> None:
    decision = decide(link)
    assert (decision.route, decision.reason) == (Route.LOCAL, reason)


def test_a_cloud_that_answers_with_errors_is_not_called_dead() -> None:
    failed = Sample(("cam", 1), NOW_S, 0.1, answered=False, cause=Cause.SERVER)
    assert decide(replace(view(None, good_s=NOW_S - 30), samples=(failed,))).reason is Reason.HTTP_ERROR


def test_a_dead_link_is_asked_again_with_a_real_frame_and_the_local_run_starts_at_once() -> None:
    decision = decide(view(None, sent_s=NOW_S - 2, good_s=NOW_S - 10))
    assert (decision.route, decision.reason, decision.local_start_s) == (Route.CLOUD, Reason.PROBE, NOW_S)


def test_a_probe_waits_for_the_one_before_it() -> None:
    link = view(None, sent_s=NOW_S - 2, good_s=NOW_S - 10)
    assert decide(link, replace(IDLE, in_flight=1)).route is Route.LOCAL


@given(silent_s=st.floats(0.0, 1e6), since_sent_s=st.floats(0.0, 1e6))
def test_probes_grow_rare_with_the_silence_but_never_rarer_than_once_a_minute(
    silent_s: float, since_sent_s: float
) -> None:
    decision = decide(view(None, sent_s=NOW_S - since_sent_s, good_s=NOW_S - silent_s))
    if since_sent_s >= PROBE_MAX_S:
        assert decision.reason is Reason.PROBE
    if since_sent_s < max(0.5, min(PROBE_MAX_S, 0.1 * silent_s)) * 0.999:
        assert decision.route is Route.LOCAL


def test_noise_around_the_threshold_does_not_flip_the_route() -> None:
    router = Router(Mode.AUTO)
    good, middling = view(*[0.2] * 10), view(*[0.2] * 5, *[0.9] * 5)
    assert decide(middling, router=router).route is Route.LOCAL
    assert decide(good, router=router).route is Route.CLOUD
    assert decide(middling, router=router).route is Route.CLOUD


def test_a_closed_cloud_gets_no_frame_and_no_probe() -> None:
    link = replace(view(*[0.2] * 10, sent_s=NOW_S - 100), closed_until_s=NOW_S + 60, closed_reason=Reason.HTTP_AUTH)
    decision = decide(link)
    assert (decision.route, decision.reason) == (Route.LOCAL, Reason.HTTP_AUTH)


def test_a_full_window_keeps_the_frame_here() -> None:
    full = replace(IDLE, in_flight=6)
    decision = decide(view(*[0.2] * 10), full)
    assert (decision.route, decision.reason) == (Route.LOCAL, Reason.INFLIGHT_FULL)
    assert decide(view(*[0.2] * 10, good_s=NOW_S - 5), full).reason is Reason.DEAD


def test_a_local_model_that_cannot_keep_up_leaves_the_frame_to_a_good_link_alone() -> None:
    decision = decide(view(*[0.2] * 10), replace(IDLE, local_fits=False))
    assert (decision.route, decision.reason, decision.local_start_s) == (Route.CLOUD, Reason.LOCAL_OVERLOADED, None)


def test_a_frame_waits_where_no_lane_has_room() -> None:
    assert Router(Mode.AUTO).decide(DEADLINE_S, link=view(), load=BUSY, now_s=NOW_S) is None
    assert Router(Mode.LOCAL_ONLY).decide(DEADLINE_S, link=view(), load=BUSY, now_s=NOW_S) is None
    full = replace(IDLE, in_flight=6)
    assert Router(Mode.CLOUD_ONLY).decide(DEADLINE_S, link=view(), load=full, now_s=NOW_S) is None


def test_local_only_and_cloud_only_do_what_they_say() -> None:
    only_local = decide(view(*[0.2] * 10), mode=Mode.LOCAL_ONLY)
    assert (only_local.route, only_local.reason) == (Route.LOCAL, Reason.LOCAL_ONLY)
    only_cloud = decide(view(None), mode=Mode.CLOUD_ONLY)
    assert (only_cloud.route, only_cloud.reason, only_cloud.local_start_s) == (Route.CLOUD, Reason.CLOUD_ONLY, None)


def test_cloud_only_leaves_a_cloud_alone_that_said_no() -> None:
    link = replace(view(), closed_until_s=NOW_S + 60, closed_reason=Reason.HTTP_AUTH)
    assert Router(Mode.CLOUD_ONLY).decide(DEADLINE_S, link=link, load=IDLE, now_s=NOW_S) is None


@pytest.mark.parametrize(("deadline_s", "limit"), [(0.3, 4), (0.5, 6), (1.0, 10), (8.0, 10)])
def test_the_window_covers_one_deadline(deadline_s: float, limit: int) -> None:
    assert in_flight_limit(deadline_s) == limit
